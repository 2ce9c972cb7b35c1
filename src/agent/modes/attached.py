"""Files in a turn's messages: those that came along with it, and pictures of earlier turns that the model asked for.

Above is `work.py`; below `agent/files.py`, which makes parts of a message out of files. What it puts in is made anew
from the log in each round, so that a turn that goes on after a crash shows the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent import files
from agent.ports.media import MediaStore
from agent.tools.attachments import READ_ATTACHMENT, SHOWN, AttachmentReader
from agent.tools.schema import BadArguments, parse_arguments
from agent.turn import Turn
from bus.events import JsonObject, MediaRef


@dataclass(slots=True)
class Attached:
    """The files of one turn. `sees` says whether one of the models that may be asked sees."""

    turn: Turn
    media: MediaStore
    sees: bool
    vision: bool = False
    """Whether the messages hold a picture: only a model that sees can answer then."""
    _made: dict[str, files.ForModel] = field(default_factory=dict)

    def reader(self, *, here: bool) -> AttachmentReader:
        """For one worker's tools; only in the talk itself (`here`) can pictures be shown."""
        window = self.turn.lane.window
        return AttachmentReader(
            self.media, self.turn.message.actor.user, lambda: window.files, sees=self.sees and here
        )  # fmt: skip

    async def put_into(self, messages: list[JsonObject]) -> None:
        """What came along with the messages that this turn answers, and what was asked for in it."""
        said = self.turn.lane.window.said(self.turn.message.message_id)
        begun = next((place for place, one in enumerate(messages) if one is said), len(messages))
        for message_id, refs in self.turn.files:
            await self._attach(messages, message_id, refs)
        if self.sees:
            messages[begun:] = await self._shown(messages[begun:])

    async def _made_of(self, name: str, refs: Sequence[MediaRef]) -> files.ForModel:
        found = self._made.get(name)
        if found is None:
            found = await files.for_model(refs, self.media, self.turn.message.actor.user, sees=self.sees)
            self._made[name] = found
            self.vision = self.vision or found.vision
        return found

    async def _attach(self, messages: list[JsonObject], message_id: str, refs: Sequence[MediaRef]) -> None:
        """Put the files of a message behind its text."""
        found = await self._made_of(message_id, refs)
        if not found.parts:
            return
        said = self.turn.lane.window.said(message_id)
        for index, one in enumerate(messages):
            if one is said:
                text = {"type": "text", "text": one["content"]}
                content: object = [text, *found.parts]
                if not found.vision:
                    content = "\n\n".join(part["text"] for part in [text, *found.parts] if part["text"])
                messages[index] = {"role": "user", "content": content}

    async def _shown(self, messages: Sequence[JsonObject]) -> list[JsonObject]:
        """The messages of this turn, and behind the results of each round the pictures that were asked for in it."""
        known = self.turn.lane.window.files
        asked: dict[str, str] = {}
        waiting: list[MediaRef] = []
        out: list[JsonObject] = []
        for one in messages:
            if one["role"] != "tool" and waiting:
                out.append(await self._picture(waiting))
                waiting = []
            out.append(one)
            asked |= _asked_for(one)
            ref = known.get(asked.get(str(one.get("tool_call_id")), ""))
            if one["role"] == "tool" and ref is not None and str(one["content"]).startswith(SHOWN):
                waiting.append(ref)
        if waiting:
            out.append(await self._picture(waiting))
        return out

    async def _picture(self, refs: Sequence[MediaRef]) -> JsonObject:
        found = await self._made_of("\0".join(ref.media_id for ref in refs), refs)
        names = ", ".join(ref.name for ref in refs)
        return {"role": "user", "content": [{"type": "text", "text": f"[{names}, as asked for]"}, *found.parts]}


def _asked_for(message: Mapping[str, object]) -> dict[str, str]:
    """Call id to handle, for calls of `read_attachment`."""
    out: dict[str, str] = {}
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else ():
        if call["function"]["name"] == READ_ATTACHMENT:
            try:
                out[call["id"]] = str(parse_arguments(call["function"]["arguments"]).get("attachment"))
            except BadArguments:
                continue
    return out

"""A session as its people read it: messages in the form of `chat.history`, read from the newest backwards.

Above it the store; below it a view of one log. Rounds stay apart: the text that came
with calls, each result, then the text of the last round alone. A call is shown only
with its result. A message that takes an earlier one's place (`replaces`) hides that one
and all that was said until it came; what still answers to something hidden is hidden too.
"""

import mimetypes
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from agent.ports.sessions import Record
from agent.sessions.reader import Line
from agent.sessions.records import DONE, ENDS_TURN, ERROR, MESSAGE, TOOL_FINISHED, TOOL_STARTED, TURN_STARTED
from agent.sessions.view import View
from bus.events import JsonObject

_SHOWN = frozenset({MESSAGE, TOOL_STARTED, TOOL_FINISHED, DONE, ERROR})
_LOOK_AHEAD = 400
_LOOK_BACK = 2000


@dataclass(frozen=True, slots=True)
class Cut:
    """What one `replaces` hides: the numbers from `first` to below `end`, and the turns of these messages."""

    first: int
    end: int
    turns: frozenset[str]


def find_cut(view: View, seq: int, replaced: str) -> Cut | None:
    """What the message `seq` hides by taking the place of `replaced`; None where there is no such message before it."""
    turns: set[str] = set()
    for line in view.backward(seq):
        if line.type != MESSAGE or (record := line.record()) is None:
            continue
        turns.add(str(record.data.get("message_id")))
        if record.data.get("message_id") == replaced:
            return Cut(line.seq, seq, frozenset(turns))
    return None


@dataclass(slots=True)
class _Pass:
    """One reading from the newest to the oldest."""

    view: View
    cuts: Sequence[Cut]
    results: set[tuple[str, str]] = field(default_factory=set)
    """(message_id, call_id) of the results that were seen."""

    def lines(self, before_seq: int | None) -> Iterator[Line]:
        """What isn't hidden; a hidden stretch is leapt over, not read."""
        while True:
            for line in self.view.backward(before_seq):
                cut = next((cut for cut in self.cuts if cut.first <= line.seq < cut.end), None)
                if cut is not None:
                    before_seq = cut.first
                    break
                yield line
            else:
                return

    def messages(self, before_seq: int | None) -> Iterator[JsonObject]:
        if before_seq is not None:
            self._look_ahead(before_seq)
        hidden = frozenset().union(*(cut.turns for cut in self.cuts))
        for line in self.lines(before_seq):
            if line.type not in _SHOWN or (record := line.record()) is None:
                continue
            if record.data.get("message_id") in hidden or record.data.get("agent"):
                continue
            message = self._message(record)
            if message is not None:
                yield message

    def _look_ahead(self, before_seq: int) -> None:
        """A page may begin between a call and its result: learn what results follow."""
        for number, line in enumerate(self.view.forward(before_seq - 1)):
            if number >= _LOOK_AHEAD or line.type in ENDS_TURN or line.type == TURN_STARTED:
                return
            record = line.record() if line.type in (TOOL_STARTED, TOOL_FINISHED) else None
            if record is None:
                continue
            if record.data.get("round"):
                return
            if record.type == TOOL_FINISHED:
                self.results.add(_call_of(record))

    def _message(self, record: Record) -> JsonObject | None:
        data = record.data
        if record.type == MESSAGE:
            return _user(record)
        if record.type == TOOL_FINISHED:
            if _call_of(record) in self.results:
                return None
            self.results.add(_call_of(record))
            media = tool_media(data)
            more = {"media": media} if media else {}
            return _shape(record, "tool", tool_text(data), tool_call_id=data.get("call_id", ""), **more)
        if record.type == TOOL_STARTED:
            return self._round(record)
        text = data.get("last_text")
        if record.type == ERROR:
            text = self._partial(record) if text is None else text
            return _shape(record, "assistant", text, partial=True) if text else None
        return _answer(record, data.get("text") or "" if text is None else text)

    def _round(self, record: Record) -> JsonObject | None:
        step = record.data.get("round")
        if not isinstance(step, dict):
            return None
        turn = str(record.data.get("message_id"))
        calls = [_call(call) for call in step.get("calls") or () if (turn, str(call.get("call_id"))) in self.results]
        text = step.get("text") or ""
        if calls:
            return _shape(record, "assistant", text, tool_calls=calls)
        return _shape(record, "assistant", text) if text else None

    def _partial(self, record: Record) -> str:
        """The text of the round that was cut off: `partial` holds that of all rounds, joined by an empty line."""
        text, turn = str(record.data.get("partial") or ""), record.data.get("message_id")
        earlier: list[str] = []
        for number, line in enumerate(self.view.backward(record.seq) if text else ()):
            if number >= _LOOK_BACK:
                break
            found = line.record() if line.type in (MESSAGE, TOOL_STARTED) else None
            if found is None or found.data.get("message_id") != turn or found.data.get("agent"):
                continue
            if found.type == MESSAGE:
                break
            if (step := found.data.get("round")) and step.get("text"):
                earlier.append(step["text"])
        before = "\n\n".join(reversed(earlier))
        return text.removeprefix(before).removeprefix("\n\n") if before else text


def page(
    view: View, cuts: Sequence[Cut], *, limit: int, before_seq: int | None = None
) -> tuple[list[JsonObject], bool]:  # fmt: skip
    """The last `limit` messages below `before_seq`, oldest first, and whether there are older ones."""
    out: list[JsonObject] = []
    for message in _Pass(view, cuts).messages(before_seq):
        if len(out) >= limit:
            return out[::-1], True
        out.append(message)
    return out[::-1], False


def _shape(record: Record, role: str, text: str, **more: Any) -> JsonObject:
    return {"seq": record.seq, "message_id": record.data.get("message_id", ""), "role": role, "text": text, **more,
            "timestamp": record.timestamp}  # fmt: skip


def _user(record: Record) -> JsonObject:
    media = record.data.get("media")
    more = {"media": media} if media else {}
    return _shape(record, str(record.data.get("role") or "user"), record.data.get("text") or "", **more)


def _answer(record: Record, text: str) -> JsonObject | None:
    """An answer may end in calls to tools that the client runs itself."""
    calls = [_call(call) for call in record.data.get("tool_calls") or ()]
    partial = bool(record.data.get("partial"))
    if partial and not text and not calls:
        return None
    more: JsonObject = {"tool_calls": calls} if calls else {}
    if partial:
        more["partial"] = True
    return _shape(record, "assistant", text, **more)


def _call(call: JsonObject) -> JsonObject:
    function = call.get("function") or {}
    return {"call_id": call.get("call_id", call.get("id", "")), "name": call.get("name", function.get("name", "")),
            "arguments": call.get("arguments", function.get("arguments", ""))}  # fmt: skip


def _call_of(record: Record) -> tuple[str, str]:
    return str(record.data.get("message_id")), str(record.data.get("call_id"))


def tool_text(data: JsonObject) -> str:
    """A tool's result as text; what is no text is named by its kind."""
    parts = [_block(block) for block in data.get("content") or () if isinstance(block, dict)]
    text = "\n".join(part for part in parts if part)
    if not text and data.get("structured_content") is not None:
        return orjson.dumps(data["structured_content"], option=orjson.OPT_NON_STR_KEYS).decode()
    return text


def tool_media(data: JsonObject) -> list[JsonObject]:
    """The files that a tool gave, by the handles they are kept under: `{media_id, mime, name}`."""
    out = []
    for block in data.get("content") or ():
        if isinstance(block, dict) and isinstance(block.get("media_id"), str):
            about = block.get("resource") or block
            mime = str(about.get("mimeType") or "")
            name = str(about.get("uri") or "").rsplit("/", 1)[-1]
            name = name or str(data.get("name") or "file") + (mimetypes.guess_extension(mime) or "")
            out.append({"media_id": block["media_id"], "mime": mime, "name": name})
    return out


def _block(block: JsonObject) -> str:
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text") or "")
    resource = block.get("resource") or block
    if isinstance(resource, dict) and (resource.get("text") or resource.get("uri")):
        return str(resource.get("text") or f"[{kind} {resource['uri']}]")
    return f"[{kind} {block.get('mimeType', '')}]".replace(" ]", "]")

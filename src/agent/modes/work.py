"""What a mode works with: one turn's context, the model, and the tools behind the guard.

`ask` is one round of the model, `use` runs the calls of a round. Both keep the turn's
books: usage, intents, results. The modes above say only in which order.
"""

import base64
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from agent.modes.choose import FAST
from agent.ports import (
    LanguageModel,
    MediaReader,
    ModelReply,
    ModelRequest,
    RequestedCall,
    ToolCall,
    ToolResult,
    ToolSpec,
    ToolUpdate,
)
from agent.resume import Round
from agent.settings import AgentSettings
from agent.tools.executor import Executor, TurnTools
from agent.turn import Turn, usage_data
from bus import tracing
from bus.events import JsonObject, MediaRef

SEEN_AS_IMAGE = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
READ_AS_TEXT = ("text/", "application/json", "application/xml", "application/yaml")
TEXT_CHARS = 60_000


class Finished(NamedTuple):
    """How a mode ended."""

    reason: str
    tool_calls: tuple[JsonObject, ...] = ()


@dataclass(slots=True)
class Work:
    """One turn's answer in the making."""

    turn: Turn
    model: LanguageModel
    executor: Executor
    specs: Sequence[ToolSpec]
    settings: AgentSettings
    system: str
    wishes: str = ""
    """What this person told the assistant about himself and how to answer."""
    among: tuple[str, ...] = ()
    """Names of the models that this agent may ask; empty means all."""
    media: MediaReader | None = None
    needs: frozenset[str] = frozenset()
    own: TurnTools = field(init=False)
    """The turn's own tools, which remember what was tried."""

    def __post_init__(self) -> None:
        self.own = self.hands()

    def model_name(self, mode: str) -> str:
        """The model that will probably answer, for `chat.started`."""
        entries = self.model.describe()
        if not entries:
            return ""
        options = self.turn.message.options
        if options is not None and options.model:
            for entry in entries:
                if entry.get("name") == options.model:
                    return str(entry["name"])
        if mode == FAST:
            return str(min(entries, key=lambda entry: entry.get("tier", 1))["name"])
        return str(entries[0]["name"])

    # ------------------------------------------------------------ context

    async def messages(self) -> list[JsonObject]:
        """The system prompt, the history, and the person's message with its files."""
        message = self.turn.message
        out: list[JsonObject] = [
            {"role": "system", "content": f"{self.system}\n\n{self.wishes}" if self.wishes else self.system}
        ]
        options = message.options
        if options is not None and options.history:
            out += options.history
        said = self.turn.lane.window.messages(message.message_id, self.turn.also)
        if options is not None and options.history and not message.text and not message.media:
            # a program goes on from its own tools' results: nobody has said anything new
            said = [one for one in said if one != {"role": "user", "content": ""}]
        out += said
        if message.media and self.media is not None:
            self._attach(out, await self._parts(message.media))
        return out

    @staticmethod
    def _attach(messages: list[JsonObject], parts: list[JsonObject]) -> None:
        for index in range(len(messages) - 1, -1, -1):
            if messages[index]["role"] == "user":
                text = {"type": "text", "text": messages[index]["content"]}
                content: object = [text, *parts]
                if all(part["type"] == "text" for part in parts):
                    content = "\n\n".join(part["text"] for part in [text, *parts] if part["text"])
                messages[index] = {"role": "user", "content": content}
                return

    async def _parts(self, refs: Sequence[MediaRef]) -> list[JsonObject]:
        """Images for a model that sees, text to read, a name for everything else."""
        parts: list[JsonObject] = []
        sees = any(entry.get("vision") for entry in self.model.describe())
        for ref in refs:
            if self.media is not None and sees and ref.mime in SEEN_AS_IMAGE:
                data = base64.b64encode(await self.media.read(ref, self.turn.message.actor.user)).decode()
                parts.append({"type": "image_url", "image_url": {"url": f"data:{ref.mime};base64,{data}"}})
                self.needs = self.needs | {"vision"}
            elif self.media is not None and ref.mime.startswith(READ_AS_TEXT):
                raw = await self.media.read(ref, self.turn.message.actor.user)
                text = raw.decode("utf-8", "replace")[:TEXT_CHARS]
                parts.append({"type": "text", "text": f"[file {ref.name}]\n{text}"})
            else:
                parts.append({"type": "text", "text": f"[file {ref.name}, {ref.mime}, {ref.size} bytes]"})
        return parts

    # ------------------------------------------------------------ the model

    async def ask(
        self, messages: Sequence[JsonObject], on_delta: Callable[[str], None], *, hands: TurnTools | None,
        tier: int | None = None,
    ) -> ModelReply:  # fmt: skip
        """One round, with the tools of `hands`, if any. Its usage is added to the turn's."""
        message = self.turn.message
        options = message.options
        tools: list[JsonObject] = []
        if hands is not None:
            tools = hands.for_model()
            if options is not None and hands is self.own:
                tools = [*tools, *options.tools]
        request = ModelRequest(
            messages=messages,
            tools=tools,
            user=message.actor.user,
            tier=tier,
            needs=self.needs | ({"tools"} if tools else frozenset()),
            model=options.model if options is not None else None,
            among=self.among,
            parameters=options.parameters if options is not None else {},
            language=message.actor.language,
        )
        with tracing.span(tracing.MODEL, request.model or self.turn.model) as span:
            reply = await self.model.stream(request, on_delta)
            span.set("gen_ai.response.model", reply.model)
            span.set("gen_ai.usage.input_tokens", reply.usage.prompt_tokens)
            span.set("gen_ai.usage.output_tokens", reply.usage.completion_tokens)
            span.set("gen_ai.response.finish_reasons", reply.finish_reason)
        self.turn.add_usage(reply.usage, reply.model or "model")
        return reply

    # ------------------------------------------------------------ tools

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client runs itself."""
        options = self.turn.message.options
        if options is None:
            return frozenset()
        return frozenset(str(tool.get("function", {}).get("name")) for tool in options.tools)

    def hands(self) -> TurnTools:
        """The tools of one worker: of the turn itself, or of one sub-agent."""
        message = self.turn.message
        return self.executor.turn(
            message.actor, self.specs, session=self.turn.lane.key, message_id=message.message_id,
            attended=message.actor.role != "service" and message.actor.channel != "schedule",
        )  # fmt: skip

    async def use(self, reply: ModelReply) -> bool:
        """Run the calls of the turn's own round; False where going on makes no sense."""
        calls = self.own.unique(reply.calls)
        step: JsonObject = {
            "text": reply.text,
            "calls": [{"call_id": c.call_id, "name": c.name, "arguments": c.arguments} for c in calls],
            "usage": usage_data(reply.usage),
        }
        return not (await self.own.run(calls, _Books(self.turn, "", step))).stop

    async def finish_round(self, step: Round) -> None:
        """What a crash left of a round: run what is missing, with the keys it had."""
        for earlier in self.turn.progress.rounds:
            self.own.unique([_requested(call) for call in earlier.calls])
        missing = [_requested(call) for call in step.calls if call["call_id"] not in step.results]
        if missing:
            await self.own.run(missing, _Books(self.turn, "", None, step.started), repeated=frozenset(step.started))

    async def use_for(self, hands: TurnTools, reply: ModelReply, *, agent: str) -> list[JsonObject]:
        """Run the calls of a sub-agent's round; the messages that say so to its model."""
        # A sub-agent that begins anew after a crash must not meet the keys of its earlier life.
        life = f"{agent}-{self.turn.progress.attempts + 1}"
        calls = hands.unique([replace(call, call_id=f"{life}-{call.call_id}"[:128]) for call in reply.calls])
        asked = replace(reply, calls=calls)
        done = await hands.run(calls, _Books(self.turn, agent, None))
        said: JsonObject = {"role": "assistant", "content": reply.text or None, "tool_calls": list(handed_back(asked))}
        return [said, *done.messages()]


def _requested(call: JsonObject) -> RequestedCall:
    """A recorded call as the model asked for it."""
    return RequestedCall(call_id=call["call_id"], name=call["name"], arguments=call["arguments"])


def handed_back(reply: ModelReply) -> tuple[JsonObject, ...]:
    """The calls in Chat Completions form."""
    return tuple(
        {"id": call.call_id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
        for call in reply.calls
    )


class _Books:
    """Keeps the turn's records while a round's calls run; the first call carries the round."""

    def __init__(self, turn: Turn, agent: str, step: JsonObject | None, started: Collection[str] = frozenset()) -> None:
        self._turn = turn
        self._agent = agent
        self._step = step
        self._started = started

    async def on_start(self, call: ToolCall, spec: ToolSpec | None) -> None:
        if call.call_id in self._started:
            return  # recorded before the crash
        step, self._step = self._step, None
        # What cannot be repeated must be known to have been begun.
        wait = spec is not None and not (spec.read_only or spec.idempotent)
        await self._turn.tool_started(call, step=step, agent=self._agent, wait=wait)

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None:
        self._turn.tool_update(call, update)

    async def on_finish(self, call: ToolCall, result: ToolResult, text: str) -> None:
        await self._turn.tool_finished(call, result, text, agent=self._agent)

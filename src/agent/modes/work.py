"""What a mode works with: one turn's context, the model, and the tools behind the guard.

`ask` is one round of the model, `use` runs the calls of a round. Both keep the turn's
books: usage, intents, results. The modes above say only in which order.
"""

import base64
from collections.abc import Callable, Sequence
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
    ToolSource,
    ToolSpec,
    ToolUpdate,
)
from agent.resume import Round
from agent.settings import AgentSettings
from agent.tools.executor import CallContext, Executor
from agent.tools.schema import to_model_tools
from agent.turn import Turn, usage_data
from agent.window import result_text
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
    tools: ToolSource
    specs: Sequence[ToolSpec]
    settings: AgentSettings
    system: str
    own: str = ""
    """What this person told the assistant about himself and how to answer."""
    media: MediaReader | None = None
    needs: frozenset[str] = frozenset()
    _executor: Executor | None = field(default=None)
    _seen: set[str] = field(default_factory=set)

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
            {"role": "system", "content": f"{self.system}\n\n{self.own}" if self.own else self.system}
        ]
        options = message.options
        if options is not None and options.history:
            out += options.history
        out += self.turn.lane.window.messages(message.message_id, self.turn.also)
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
        self, messages: Sequence[JsonObject], on_delta: Callable[[str], None], *, with_tools: bool = True,
        tier: int | None = None,
    ) -> ModelReply:  # fmt: skip
        """One round. Its usage is added to the turn's."""
        message = self.turn.message
        options = message.options
        tools: list[JsonObject] = []
        if with_tools:
            tools = to_model_tools(self.specs)
            if options is not None:
                tools += options.tools
        request = ModelRequest(
            messages=messages,
            tools=tools,
            user=message.actor.user,
            tier=tier,
            needs=self.needs | ({"tools"} if tools else frozenset()),
            model=options.model if options is not None else None,
            parameters=options.parameters if options is not None else {},
            language=message.actor.language,
        )
        reply = await self.model.stream(request, on_delta)
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

    @property
    def executor(self) -> Executor:
        """The turn's executor, which remembers what was tried."""
        if self._executor is None:
            self._executor = Executor(self.tools, self.specs, tool_seconds=self.settings.tool_seconds)
        return self._executor

    async def use(self, reply: ModelReply) -> bool:
        """Run the calls of the turn's own round; False where going on makes no sense."""
        calls = self._own_ids(reply.calls)
        step: JsonObject = {
            "text": reply.text,
            "calls": [{"call_id": c.call_id, "name": c.name, "arguments": c.arguments} for c in calls],
            "usage": usage_data(reply.usage),
        }
        await self.executor.run(calls, self._context(""), _Books(self.turn, "", step), key_prefix=self._prefix)
        return not self.executor.hopeless

    async def finish_round(self, step: Round) -> None:
        """What a crash left of a round: run what is missing, with the keys it had."""
        missing = [
            RequestedCall(call_id=c["call_id"], name=c["name"], arguments=c["arguments"])
            for c in step.calls
            if c["call_id"] not in step.results
        ]
        self._seen.update(c["call_id"] for earlier in self.turn.progress.rounds for c in earlier.calls)
        if missing:
            await self.executor.run(
                missing, self._context(""), _Books(self.turn, "", None), key_prefix=self._prefix,
                started=frozenset(step.started),
            )  # fmt: skip

    async def use_for(self, reply: ModelReply, *, agent: str) -> list[JsonObject]:
        """Run the calls of a sub-agent's round; the messages that answer them."""
        executor = Executor(self.tools, self.specs, tool_seconds=self.settings.tool_seconds)
        calls = self._own_ids(reply.calls)
        prefix = f"{self._prefix}:{self.turn.progress.attempts}:{agent}"
        outcomes = await executor.run(calls, self._context(agent), _Books(self.turn, agent, None), key_prefix=prefix)
        return [
            {"role": "tool", "tool_call_id": asked.call_id, "content": result_text(result_data(outcome.result))}
            for asked, outcome in zip(reply.calls, outcomes, strict=True)
        ]

    @property
    def _prefix(self) -> str:
        return self.turn.message.message_id

    def _context(self, agent: str) -> CallContext:
        message = self.turn.message
        return CallContext(
            actor=message.actor, session=self.turn.lane.key, message_id=message.message_id, agent=agent,
            attended=message.actor.role != "service",
        )  # fmt: skip

    def _own_ids(self, calls: Sequence[RequestedCall]) -> list[RequestedCall]:
        """The calls with ids that are unique in the turn: some servers count from one in each round."""
        out = []
        for call in calls:
            wanted = call.call_id or "call"
            name, number = wanted, 1
            while name in self._seen:
                number += 1
                name = f"{wanted}-{number}"
            self._seen.add(name)
            out.append(call if name == call.call_id else replace(call, call_id=name))
        return out


class _Books:
    """Keeps the turn's records while a round's calls run; the first call carries the round."""

    def __init__(self, turn: Turn, agent: str, step: JsonObject | None) -> None:
        self._turn = turn
        self._agent = agent
        self._step = step

    async def on_start(self, call: ToolCall, *, wait: bool) -> None:
        step, self._step = self._step, None
        await self._turn.tool_started(call, step=step, agent=self._agent, wait=wait)

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None:
        self._turn.tool_update(call, update)

    async def on_finish(self, call: ToolCall, result: ToolResult) -> None:
        await self._turn.tool_finished(call, result, agent=self._agent)


def result_data(result: ToolResult) -> JsonObject:
    """A result as it stands in a record."""
    return {"content": list(result.content), "structured_content": result.structured_content,
            "is_error": result.is_error}  # fmt: skip

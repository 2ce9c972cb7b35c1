"""What a mode works with: one turn's context, the model, and the tools behind the guard.

`ask` is one round of the model, `use` runs the calls of a round. Both keep the turn's
books: usage, intents, results. The modes above say only in which order.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from agent.modes.attached import Attached
from agent.modes.choose import FAST
from agent.ports.media import MediaStore
from agent.ports.models import LanguageModel, ModelReply, ModelRequest, RequestedCall
from agent.ports.tools import ToolCall, ToolResult, ToolSpec, ToolUpdate
from agent.resume import Round
from agent.settings import AgentSettings
from agent.spending import usage_data
from agent.tools.calls import outcome_unknown
from agent.tools.executor import Executor, TurnTools
from agent.tools.results import text_of
from agent.tools.schema import BadArguments, parse_arguments
from agent.turn import Turn
from agent.window import result_text
from bus import tracing
from bus.events import JsonObject

CHEAPEST, ABLE, BEST = 0, 1, 2
"""Tiers: for an answer without tools, for work with tools, for what a model of the tier before could not do."""


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
    media: MediaStore | None = None
    tier: int = ABLE
    """The cheapest tier that is asked first; it rises where a model showed that it can't do it."""
    own: TurnTools = field(init=False)
    """The turn's own tools, which remember what was tried."""
    attached: Attached | None = field(init=False, default=None)
    _entries: Sequence[JsonObject] = field(init=False)
    """The models that may be asked, as they were when the turn began."""

    def __post_init__(self) -> None:
        self._entries = [e for e in self.model.describe() if not self.among or e.get("name") in self.among]
        if self.media is not None:
            sees = any(entry.get("vision") for entry in self._entries)
            self.attached = Attached(self.turn, self.media, sees)
        self.own = self.hands(own=True)

    def model_name(self, mode: str) -> str:
        """The model that will probably answer, for `chat.started`."""
        entries = self._entries
        if not entries:
            return ""
        if len(entries) == 1:
            return str(entries[0]["name"])
        options = self.turn.message.options
        wanted = options.model if options is not None else None
        tier = CHEAPEST if mode == FAST else self.tier

        def rank(entry: JsonObject) -> tuple[bool, bool, bool, int]:
            steps = entry.get("tier", ABLE) - tier
            return entry.get("name") != wanted, entry.get("state", "ready") != "ready", steps < 0, abs(steps)

        return str(min(entries, key=rank)["name"])

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
        window = self.turn.lane.window
        said = window.messages(message.message_id, self.turn.also)
        if not window.holds(message.message_id):  # without its history, rather than with another's question
            said = [{"role": "user", "content": message.text}]
        if options is not None and options.history and not message.text and not message.media:
            # a program goes on from its own tools' results: nobody has said anything new
            said = [one for one in said if one != {"role": "user", "content": ""}]
        out += said
        if self.attached is not None:
            await self.attached.put_into(out)
        return out

    # ------------------------------------------------------------ the model

    async def ask(
        self, messages: Sequence[JsonObject], on_delta: Callable[[str], None], *, hands: TurnTools | None,
        tier: int | None = None,
    ) -> ModelReply:  # fmt: skip
        """One round, with the tools of `hands`, if any, from `tier` (else the work's) upwards.

        Its usage is added to the turn's, and that of attempts that were cut. Raises ModelFailed.
        """
        message = self.turn.message
        options = message.options
        tools: list[JsonObject] = []
        if hands is not None:
            tools = hands.for_model()
            if options is not None and hands is self.own:
                theirs = self.client_tools  # of two tools with one name, which servers refuse, the client's is meant
                tools = [*(tool for tool in tools if tool["function"]["name"] not in theirs), *options.tools]
        request = ModelRequest(
            messages=messages,
            tools=tools,
            user=message.actor.user,
            tier=self.tier if tier is None else tier,
            needs=frozenset(
                ["vision"] * (self.attached is not None and self.attached.vision) + ["tools"] * bool(tools)
            ),
            model=options.model if options is not None else None,
            among=self.among,
            parameters=options.parameters if options is not None else {},
            language=message.actor.language,
            lost=lambda name, usage: self.turn.spending.add(usage, name),  # what was begun is paid for
        )
        with tracing.span(tracing.MODEL, request.model or self.turn.model) as span:
            reply = await self.model.stream(request, on_delta)
            span.set("gen_ai.response.model", reply.model)
            span.set("gen_ai.usage.input_tokens", reply.usage.prompt_tokens)
            span.set("gen_ai.usage.output_tokens", reply.usage.completion_tokens)
            span.set("gen_ai.response.finish_reasons", reply.finish_reason)
        self.turn.spending.add(reply.usage, reply.model or "model")
        return reply

    async def count_what_a_crash_cut(self) -> None:
        """Rounds that nobody could count any more: their prompts are, for what was streamed of them is not known."""
        cut = self.turn.progress.cut
        if cut:
            prompt = await self.messages()
            for attempt, name in cut.items():
                self.turn.spending.add_cut(attempt, name, self.model.estimate(name, prompt))

    # ------------------------------------------------------------ tools

    @property
    def client_tools(self) -> frozenset[str]:
        """Names of the tools that the client runs itself."""
        options = self.turn.message.options
        if options is None:
            return frozenset()
        return frozenset(str(tool.get("function", {}).get("name")) for tool in options.tools)

    def hands(self, *, own: bool = False, only: Collection[str] = ()) -> TurnTools:
        """The tools of one worker: of the turn itself (`own`), or of one sub-agent, who may need `only` some."""
        message = self.turn.message
        specs = [spec for spec in self.specs if spec.name in only] or self.specs
        return self.executor.turn(
            message.actor, specs, session=self.turn.lane.key, message_id=message.message_id,
            attended=message.actor.role != "service" and message.actor.channel != "schedule",
            attachments=None if self.attached is None else self.attached.reader(here=own),
        )  # fmt: skip

    async def use(self, reply: ModelReply) -> bool:
        """Run the calls of the turn's own round; False where going on makes no sense."""
        calls = self.own.unique(reply.calls)
        step: JsonObject = {
            "text": reply.text,
            "calls": [{"call_id": c.call_id, "name": c.name, "arguments": c.arguments} for c in calls],
            "usage": usage_data(reply.usage),
            "model": reply.model or "model",
            "attempt": self.turn.attempt,
        }
        return not (await self.own.run(calls, _Books(self.turn, "", step))).stop

    async def finish_round(self, step: Round) -> None:
        """What a crash left of a round: run what is missing, with the keys it had."""
        for earlier in self.turn.progress.rounds:
            self.own.unique([_requested(call) for call in earlier.calls])
        missing = [_requested(call) for call in step.calls if call["call_id"] not in step.results]
        if missing:
            await self.own.run(
                missing, _Books(self.turn, "", None, step.started), repeated=frozenset(step.started),
                asking=frozenset(step.asking),
            )  # fmt: skip

    async def use_for(self, hands: TurnTools, reply: ModelReply, *, agent: str) -> list[JsonObject]:
        """Run the calls of a sub-agent's round; the messages that say so to its model."""
        # A sub-agent that begins anew after a crash must not meet the keys of its earlier life.
        life = f"{agent}-{self.turn.progress.attempts + 1}"
        fresh = hands.unique([replace(call, call_id=f"{life}-{call.call_id}"[:128]) for call in reply.calls])
        calls = tuple(self._taken_up(call) for call in fresh)
        taken_up = frozenset(call.call_id for call in calls) - {call.call_id for call in fresh}
        asked = replace(reply, calls=calls)
        before = {call.call_id: text for call in calls if (text := self._made_before(call)) is not None}
        done = await hands.run(
            [call for call in calls if call.call_id not in before], _Books(self.turn, agent, None, taken_up),
            repeated=taken_up, asking=taken_up,
        )  # fmt: skip
        said: JsonObject = {"role": "assistant", "content": reply.text or None, "tool_calls": list(handed_back(asked))}
        recalled = [{"role": "tool", "tool_call_id": call_id, "content": text} for call_id, text in before.items()]
        return [said, *recalled, *done.messages()]

    def _taken_up(self, call: RequestedCall) -> RequestedCall:
        """The call under the id that it had before a restart, if a person is still being asked about it."""
        for call_id, earlier in self.turn.progress.by_agents.items():
            if earlier["asking"] and earlier["result"] is None and _same(call, earlier):
                del self.turn.progress.by_agents[call_id]
                return replace(call, call_id=call_id)
        return call

    def _made_before(self, call: RequestedCall) -> str | None:
        """What came of the same call of a sub-agent before a restart: it is told again, and not made again."""
        for call_id, earlier in self.turn.progress.by_agents.items():
            if not _same(call, earlier):
                continue
            spec = self.own.spec(call.name)
            if earlier["result"] is None and (spec is None or spec.read_only or spec.idempotent):
                return None
            del self.turn.progress.by_agents[call_id]
            if earlier["result"] is not None:
                return result_text(earlier["result"])
            return text_of(outcome_unknown().content)
        return None


def _same(call: RequestedCall, earlier: JsonObject) -> bool:
    """Whether a recorded call was this one."""
    try:
        return bool(earlier["name"] == call.name and earlier["arguments"] == parse_arguments(call.arguments))
    except BadArguments:
        return False


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

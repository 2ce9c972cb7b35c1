"""Runs the tool calls of a model's rounds: checks them, bounds them, tells what happens, gives results in order.

Above it the modes, which keep the log through an `Observer`; below it one `ToolSource` (behind the guard). It knows
nothing of policy, of models or of the log. What a model got wrong comes back to it as a result; nothing that a tool
does raises here, only cancelling does.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from agent import files
from agent.ports.media import MediaStore
from agent.ports.models import RequestedCall
from agent.ports.tools import ToolCall, ToolResult, ToolSource, ToolSpec, ToolUpdate
from agent.tools.attachments import READ_ATTACHMENT, READ_ATTACHMENT_SPEC, AttachmentReader
from agent.tools.calls import CallIds, idempotency_key, needs_care, outcome_unknown, perform
from agent.tools.loops import STOPPED_AFTER, TOLD_AFTER, LoopDetector, reminder
from agent.tools.results import READ_RESULT, READ_RESULT_SPEC, ResultStore, problem, text_of
from agent.tools.schema import BadArguments, check, for_model, parse_arguments
from bus.deadline import Deadline
from bus.events import Actor, JsonObject
from bus.keys import SessionKey

MAX_CALLS = 64
"""Of one round; the calls beyond it are answered with an error and not made."""
MAX_REPAIRS = 3


class Observer(Protocol):
    """Who writes down what happens. Every call of a round is started and finished once, the refused ones too."""

    async def on_start(self, call: ToolCall, spec: ToolSpec | None) -> None:
        """Before anything happens: where this returns late, the tool starts late. `spec` is None for a refused call."""
        ...

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None: ...

    async def on_finish(self, call: ToolCall, result: ToolResult, text: str) -> None:
        """Before the model gets the result, as `text`."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one call; `text` is what the model gets."""

    call: ToolCall
    result: ToolResult
    text: str

    def message(self) -> JsonObject:
        """The Chat Completions message that answers the call."""
        return {"role": "tool", "tool_call_id": self.call.call_id, "content": self.text}


@dataclass(frozen=True, slots=True)
class Round:
    """The outcomes in the order of the calls. `stop` asks to go on without tools: `loop` or `repairs`."""

    outcomes: tuple[Outcome, ...]
    stop: str = ""

    def messages(self) -> list[JsonObject]:
        """The results as Chat Completions messages."""
        return [outcome.message() for outcome in self.outcomes]


class Executor:
    """One for the house. `tool_seconds` is the working time of one call, waiting for a person not counted."""

    def __init__(
        self, source: ToolSource, *, tool_seconds: float, max_parallel: int = 16, results: ResultStore | None = None,
        grace_seconds: float = 1.0, media: MediaStore | None = None,
    ) -> None:  # fmt: skip
        """`media` keeps the images, sounds and files of results for the person; without it they are only named."""
        self.source = source
        self.tool_seconds = tool_seconds
        self.max_parallel = max_parallel
        self.results = results or ResultStore()
        self.grace_seconds = grace_seconds
        self.media = media

    def turn(
        self, actor: Actor, specs: Sequence[ToolSpec], *, session: SessionKey | None = None, message_id: str = "",
        attended: bool = True, attachments: AttachmentReader | None = None,
    ) -> "TurnTools":  # fmt: skip
        """What one turn, or one sub-agent, may use; `attachments` reads the files of its talk."""
        return TurnTools(self, actor, specs, session, message_id, attended, attachments)


class TurnTools:
    """What one turn may call, and what it has called so far."""

    def __init__(
        self, executor: Executor, actor: Actor, specs: Sequence[ToolSpec], session: SessionKey | None, message_id: str,
        attended: bool, attachments: AttachmentReader | None,
    ) -> None:  # fmt: skip
        self._executor = executor
        self._attachments = attachments
        self._actor = actor
        self._session = session
        self._message_id = message_id
        self._attended = attended
        self._specs = {spec.name: spec for spec in specs}
        self._ids = CallIds()
        self._loops = LoopDetector()
        self._repairs = 0
        self._worst = 0
        self._cut = False
        self._asking: frozenset[str] = frozenset()
        self._places = asyncio.Semaphore(executor.max_parallel)
        self._owner = f"{actor.user}\x00{session.identity if session else ''}"

    def for_model(self) -> list[JsonObject]:
        """The tools as Chat Completions tools; the same objects in the same order as long as nothing changes."""
        return for_model(list(self._specs.values())) + for_model(list(self._inner().values()))

    def _inner(self) -> dict[str, ToolSpec]:
        """What is done here and by no source: reading on in what was cut, and in files of earlier turns."""
        found = {READ_RESULT: READ_RESULT_SPEC} if self._cut else {}
        if self._attachments is not None and self._specs and self._attachments.any:
            found[READ_ATTACHMENT] = READ_ATTACHMENT_SPEC
        return found

    def spec(self, name: str) -> ToolSpec | None:
        """What is known of a tool."""
        return self._specs.get(name)

    def unique(self, calls: Sequence[RequestedCall]) -> tuple[RequestedCall, ...]:
        """The calls with ids that no earlier call of this turn has. To be done before a round is written down.

        After a crash, give the recorded calls of the earlier rounds first.
        """
        return self._ids.unique(calls)

    async def run(
        self, calls: Sequence[RequestedCall], observer: Observer, *, repeated: frozenset[str] = frozenset(),
        asking: frozenset[str] = frozenset(),
    ) -> Round:  # fmt: skip
        """Make the calls of one round: neighbours that only read side by side, the others one after another.

        `repeated` are the ids of calls that were begun before a crash and have no result: they are sent again where
        that is safe, else their outcome is unknown (2006). Those in `asking` waited for a person: the source knows
        whether they still do. Cancelling cancels all.
        """
        self._asking = asking
        outcomes: list[Outcome | None] = [None] * len(calls)
        bad: list[bool] = [False] * len(calls)

        self._loops.begin_round()

        async def make(place: int) -> None:
            async with self._places:
                outcomes[place], bad[place] = await self._one(
                    calls[place], observer, calls[place].call_id in repeated, too_many=place >= MAX_CALLS
                )

        for group in self._groups(calls):
            if len(group) == 1:
                await make(group[0])
                continue
            try:
                async with asyncio.TaskGroup() as tasks:
                    for place in group:
                        tasks.create_task(make(place))
            except ExceptionGroup as several:  # only the observer can fail: the log refused
                raise several.exceptions[0] from None
        done = tuple(outcome for outcome in outcomes if outcome is not None)
        self._repairs += any(bad)
        stop = "repairs" if self._repairs > MAX_REPAIRS else ""
        return Round(done, "loop" if self._worst >= STOPPED_AFTER else stop)

    def _groups(self, calls: Sequence[RequestedCall]) -> list[list[int]]:
        """Places that may run side by side."""
        groups: list[list[int]] = []
        together = False
        for place, call in enumerate(calls):
            spec = self._specs.get(call.name)
            free = (
                place >= MAX_CALLS or spec is None or spec.read_only or spec.side_by_side
            )  # those done here only read
            if free and together:
                groups[-1].append(place)
            else:
                groups.append([place])
            together = free
        return groups

    async def _one(
        self, requested: RequestedCall, observer: Observer, repeated: bool, *, too_many: bool
    ) -> tuple[Outcome, bool]:
        """One call from its text to its result; and whether the model got it wrong."""
        try:
            if too_many:
                raise BadArguments(f"Too many calls in one round: only the first {MAX_CALLS} were made, not this one.")
            spec, arguments = self._understood(requested)
        except BadArguments as error:
            call = self._call(requested, {}, False)
            await observer.on_start(call, None)
            result = problem(str(error), code=1003 if self._unknown(requested) else 1000)
            await observer.on_finish(call, result, str(error))
            return Outcome(call, result, str(error)), not too_many
        call = self._call(requested, arguments, repeated)
        await observer.on_start(call, spec)
        result = await self._result(call, spec, observer)
        text = self._text(call, result)
        await observer.on_finish(call, result, text)
        return Outcome(call, result, text), False

    def _text(self, call: ToolCall, result: ToolResult) -> str:
        """What the model gets: cut with a handle to read on, and told when it turns in a circle."""
        whole = text_of(result.content, result.structured_content)
        text = whole or "(no output)"
        if call.name != READ_RESULT:
            short = self._executor.results.shorten(self._owner, text)
            self._cut = self._cut or short is not text
            text = short
        times = self._loops.saw(call.name, call.arguments, whole)
        self._worst = max(self._worst, times)
        return text + reminder(call.name, times) if times >= TOLD_AFTER else text

    async def _result(self, call: ToolCall, spec: ToolSpec, observer: Observer) -> ToolResult:
        if call.name == READ_RESULT:
            return self._read_on(call.arguments)
        if call.name == READ_ATTACHMENT and spec is READ_ATTACHMENT_SPEC and self._attachments is not None:
            return await self._attachments.read(str(call.arguments["attachment"]))
        if call.repeated and needs_care(spec) and call.call_id not in self._asking:
            return outcome_unknown()
        deadline = Deadline(self._executor.tool_seconds)
        result = await perform(
            self._executor.source, call, spec, deadline, lambda update: observer.on_update(call, update),
            self._executor.grace_seconds,
        )  # fmt: skip
        if self._executor.media is None:
            return result
        return await files.for_person(result, self._executor.media, call.actor.user, call.name)

    def _unknown(self, requested: RequestedCall) -> bool:
        return (
            requested.name not in self._specs and requested.name != READ_RESULT and requested.name not in self._inner()
        )

    def _understood(self, requested: RequestedCall) -> tuple[ToolSpec, JsonObject]:
        """Raises BadArguments, whose text helps the model."""
        spec = READ_RESULT_SPEC if requested.name == READ_RESULT else self._specs.get(requested.name)
        spec = spec or self._inner().get(requested.name)
        if spec is None:
            names = ", ".join(list(self._specs)[:40]) or "none"
            raise BadArguments(f"There is no tool named “{requested.name[:64]}”. The tools are: {names}.")
        arguments = parse_arguments(requested.arguments)
        check(spec.input_schema, arguments)
        return spec, arguments

    def _call(self, requested: RequestedCall, arguments: JsonObject, repeated: bool) -> ToolCall:
        return ToolCall(
            call_id=requested.call_id, name=requested.name, arguments=arguments, actor=self._actor,
            idempotency_key=idempotency_key(self._session, self._message_id, requested.call_id),
            session=self._session, message_id=self._message_id, repeated=repeated, attended=self._attended,
        )  # fmt: skip

    def _read_on(self, arguments: JsonObject) -> ToolResult:
        text = self._executor.results.read(self._owner, str(arguments["handle"]), int(arguments.get("offset", 0)))
        if text is None:
            return problem("That result is no longer kept. Call the tool again if you need it.", code=3003)
        return ToolResult(content=({"type": "text", "text": text},))

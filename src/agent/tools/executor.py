"""Runs the calls of one round: checked, in order where order matters, observed at each step.

Calls to read-only tools run side by side, all others one after another, in the order
in which the model asked. What the model got wrong goes back to it as a tool error. The
observer records an intent before the effect and a result before its use. Below is one
`ToolSource`, the guard; whether a call is allowed is decided there.
"""

import asyncio
import hashlib
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import orjson

from agent.ports import RequestedCall, ToolCall, ToolResult, ToolSource, ToolSpec, ToolUpdate
from agent.tools.schema import problem_with
from bus import tracing
from bus.deadline import Deadline
from bus.errors import Effect, GatewayError, OutcomeUnknown, TimedOut
from bus.events import Actor, JsonObject
from bus.keys import SessionKey

MAX_CALLS = 64
"""Calls of one round that are run; the others are refused."""
MAX_PARALLEL = 16
MAX_ARGUMENT_CHARS = 1_048_576
MAX_REPAIRS = 3
"""Rounds whose calls were all wrong, before the turn goes on without tools."""
SAME_STOPPED = 5
"""So often the same call may give the same result before the turn is stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """On whose behalf, and where."""

    actor: Actor
    session: SessionKey | None
    message_id: str
    agent: str = ""
    attended: bool = True


class Observer(Protocol):
    """Whoever keeps the books."""

    async def on_start(self, call: ToolCall, *, wait: bool) -> None:
        """Awaited before the effect; with `wait` the intent must be on the disk."""
        ...

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None: ...

    async def on_finish(self, call: ToolCall, result: ToolResult) -> None:
        """Awaited before the result is used."""
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """A call and what came of it, in the order of the round."""

    call: ToolCall
    result: ToolResult


@dataclass(slots=True)
class _Planned:
    call: ToolCall
    spec: ToolSpec | None
    refusal: str | None
    outcome: Outcome | None = None


def failure(text: str, *, code: int | None = None, effect: Effect = "none", started: float | None = None) -> ToolResult:
    """A result that says what went wrong; `started` is a monotonic time in seconds."""
    took = 0 if started is None else round((time.monotonic() - started) * 1000)
    return ToolResult(
        content=({"type": "text", "text": text},), is_error=True, duration_ms=took, code=code, effect=effect
    )


class Executor:
    """One for each turn, since it remembers what the turn has tried."""

    def __init__(self, source: ToolSource, specs: Sequence[ToolSpec], *, tool_seconds: float) -> None:
        self._source = source
        self._specs = {spec.name: spec for spec in specs}
        self._tool_seconds = tool_seconds
        self._repairs = 0
        self._same: Counter[bytes] = Counter()
        self.hopeless = False
        """The turn should go on without tools: it turns in a circle, or the calls stay wrong."""

    async def run(
        self, calls: Sequence[RequestedCall], context: CallContext, observer: Observer, *, key_prefix: str,
        started: frozenset[str] = frozenset(),
    ) -> list[Outcome]:  # fmt: skip
        """Run them all; the outcomes in the order of `calls`.

        `key_prefix` and the call's id make the idempotency key. Calls in `started` may have had
        their effect before a crash.
        """
        plan = [self._plan(index, asked, context, key_prefix, started) for index, asked in enumerate(calls)]
        index = 0
        while index < len(plan):
            batch = [plan[index]]
            while self._together(batch[0]) and index + len(batch) < len(plan) and len(batch) < MAX_PARALLEL:
                following = plan[index + len(batch)]
                if not self._together(following):
                    break
                batch.append(following)
            await self._batch(batch, observer, started)
            index += len(batch)
        outcomes = [item.outcome for item in plan if item.outcome is not None]
        self._judge(plan)
        return outcomes

    @staticmethod
    def _together(item: _Planned) -> bool:
        return item.refusal is not None or (item.spec is not None and item.spec.read_only)

    def _plan(
        self, index: int, asked: RequestedCall, context: CallContext, prefix: str, started: frozenset[str]
    ) -> _Planned:
        spec = self._specs.get(asked.name)
        arguments, refusal = parse_arguments(asked.arguments)
        if index >= MAX_CALLS:
            refusal = f"refused: at most {MAX_CALLS} calls in one round"
        elif spec is None:
            refusal = f"there is no tool named {asked.name!r}"
        elif refusal is None:
            refusal = problem_with(arguments, spec.input_schema)
            if refusal is not None:
                refusal = f"wrong arguments: {refusal}"
        call = ToolCall(
            call_id=asked.call_id, name=asked.name, arguments=arguments or {}, actor=context.actor,
            idempotency_key=f"{prefix}:{asked.call_id}", session=context.session, message_id=context.message_id,
            repeated=asked.call_id in started, attended=context.attended,
        )  # fmt: skip
        return _Planned(call, spec, refusal)

    async def _batch(self, batch: list[_Planned], observer: Observer, started: frozenset[str]) -> None:
        if len(batch) == 1:
            await self._one(batch[0], observer, started)
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                for item in batch:
                    tasks.create_task(self._one(item, observer, started))
        except* GatewayError as group:
            raise group.exceptions[0] from None

    async def _one(self, item: _Planned, observer: Observer, started: frozenset[str]) -> None:
        call, spec = item.call, item.spec
        harmless = item.refusal is not None or (spec is not None and (spec.read_only or spec.idempotent))
        if call.call_id not in started:
            await observer.on_start(call, wait=not harmless)
        if item.refusal is not None:
            result = failure(item.refusal)
        elif call.repeated and not harmless and spec is not None and spec.source == "cloud":
            # Only a bridge has a ledger that knows; here nobody can tell whether it was done.
            unknown = OutcomeUnknown("interrupted by a restart; whether it was done is unknown, it is not repeated")
            result = failure(unknown.message, code=unknown.code, effect="unknown")
        else:
            result = await self._call(call, observer)
        item.outcome = Outcome(call, result)
        await observer.on_finish(call, result)

    async def _call(self, call: ToolCall, observer: Observer) -> ToolResult:
        begun = time.monotonic()
        deadline = Deadline(self._tool_seconds)
        try:
            with tracing.span(tracing.TOOL, call.name, call_id=call.call_id):
                return await self._source.call(
                    call, deadline=deadline, report=lambda update: observer.on_update(call, update)
                )
        except TimeoutError:
            late = TimedOut(f"{call.name} did not answer within {self._tool_seconds:g} seconds")
            return failure(late.message, code=late.code, effect="unknown", started=begun)
        except GatewayError as error:
            return failure(error.message, code=error.code, effect=error.effect, started=begun)

    def _judge(self, plan: Sequence[_Planned]) -> None:
        """Whether the turn makes progress with its tools."""
        wrong = [item for item in plan if item.refusal is not None]
        self._repairs = self._repairs + 1 if len(wrong) == len(plan) else 0
        worst = 0
        for item in plan:
            if item.outcome is None:
                continue
            mark = _mark(item.outcome)
            self._same[mark] += 1
            worst = max(worst, self._same[mark])
        self.hopeless = self._repairs > MAX_REPAIRS or worst >= SAME_STOPPED


def parse_arguments(text: str) -> tuple[JsonObject | None, str | None]:
    """The arguments, or what is wrong with them. An empty text means no arguments."""
    if len(text) > MAX_ARGUMENT_CHARS:
        return None, "the arguments are too large"
    if not text.strip():
        return {}, None
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return None, f"the arguments are not valid JSON: {error}"
    if not isinstance(value, dict):
        return None, "the arguments must be a JSON object"
    return value, None


def _mark(outcome: Outcome) -> bytes:
    """Equal for the same call with the same result."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(outcome.call.name.encode())
    digest.update(orjson.dumps(outcome.call.arguments, option=orjson.OPT_SORT_KEYS))
    digest.update(orjson.dumps(list(outcome.result.content), option=orjson.OPT_SORT_KEYS, default=str))
    return digest.digest()

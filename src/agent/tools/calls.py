"""One tool call: its key, its deadline, and every way it can end as a result.

Below `executor.py`. A deadline that stands still while a person is asked is enforced here as well, for sources
that forget; they get a moment more, because they know better what has happened.
"""

import asyncio
import dataclasses
import hashlib
import logging
import time
from collections.abc import Sequence

from agent.ports.models import RequestedCall
from agent.ports.tools import Report, ToolCall, ToolResult, ToolSource, ToolSpec
from agent.tools.results import problem
from bus import tracing
from bus.deadline import Deadline
from bus.errors import Effect, GatewayError
from bus.keys import SessionKey

log = logging.getLogger(__name__)

PAUSED_LOOK_SECONDS = 1.0


class CallIds:
    """Makes call ids unique within a turn: servers begin again with `call_0` in every round."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def unique(self, calls: Sequence[RequestedCall]) -> tuple[RequestedCall, ...]:
        """The same calls; one whose id is taken (or empty, or absurdly long) gets another."""
        out = []
        for call in calls:
            wanted = call.call_id[:128] or "call"
            found, copy = wanted, 2
            while found in self._taken:
                found, copy = f"{wanted}-{copy}", copy + 1
            self._taken.add(found)
            out.append(call if found == call.call_id else dataclasses.replace(call, call_id=found))
        return tuple(out)


def idempotency_key(session: SessionKey | None, message_id: str, call_id: str) -> str:
    """The same for every repetition of a call, after a crash too; another for every other call."""
    place = session.identity if session else ""
    return hashlib.sha256(f"{place}\x00{message_id}\x00{call_id}".encode("utf-8", "replace")).hexdigest()[:40]


def needs_care(spec: ToolSpec) -> bool:
    """Whether a call that may have happened must not be sent again. A bridge knows its keys, so it may."""
    return not (spec.read_only or spec.idempotent or spec.source == "bridge")


def outcome_unknown() -> ToolResult:
    """For a call that was under way when the process went down."""
    return problem(
        "The gateway was restarted while this call was under way. It is not known whether it took effect, and it was "
        "not repeated. Check before you do it again, or ask the person.",
        code=2006, effect="unknown",
    )  # fmt: skip


async def perform(
    source: ToolSource, call: ToolCall, spec: ToolSpec, deadline: Deadline, report: Report, grace: float
) -> ToolResult:
    """Make the call. Whatever goes wrong is a result; only cancelling raises."""
    started = time.monotonic()
    effect_of_failure: Effect = "none" if spec.read_only else "unknown"
    try:
        async with asyncio.timeout(None) as limit:
            watch = _DeadlineWatch(deadline, limit, grace)
            try:
                with tracing.span(tracing.TOOL, call.name, call_id=call.call_id):
                    result = await source.call(call, deadline=deadline, report=report)
            finally:
                watch.stop()
    except GatewayError as error:
        result = problem(_told(error.code, error.message, error.effect), code=error.code, effect=error.effect)
    except TimeoutError:
        result = problem(_told(1004, "The tool took too long", effect_of_failure), code=1004, effect=effect_of_failure)
    except Exception:  # a fault in a tool must end as a result: the turn and the log go on
        log.exception("tool %s failed", call.name)
        result = problem(_told(2005, "The tool failed", effect_of_failure), code=2005, effect=effect_of_failure)
    if not result.duration_ms:
        result = dataclasses.replace(result, duration_ms=int((time.monotonic() - started) * 1000))
    return result


def _told(code: int, message: str, effect: Effect) -> str:
    tail = {
        "none": "It had no effect.",
        "unknown": "It is not known whether it took effect: do not simply repeat it.",
        "done": "It took effect.",
    }[effect]
    return f"Error {code}: {message.rstrip('.')}. {tail}"


class _DeadlineWatch:
    """Ends a call whose working time has passed; looks again while the clock stands still."""

    def __init__(self, deadline: Deadline, limit: asyncio.Timeout, grace: float) -> None:
        self._deadline = deadline
        self._limit = limit
        self._grace = grace
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_soon(self._look)

    def _look(self) -> None:
        left = self._deadline.remaining() + self._grace
        if self._deadline.paused:
            self._timer = self._loop.call_later(PAUSED_LOOK_SECONDS, self._look)
        elif left <= 0:
            self._limit.reschedule(self._loop.time())
        else:
            self._timer = self._loop.call_later(left + 0.001, self._look)

    def stop(self) -> None:
        self._timer.cancel()

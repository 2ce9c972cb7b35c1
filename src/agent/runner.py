"""Runs one turn from its first attempt to its one end.

Every accepted message ends in exactly one `chat.done` or `chat.error`, recorded
before it is told. A turn that is cut by a clean stop has no end: it is paused, and
goes on after the restart. Above is `loop.py`, below are the supervisor and the lane.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from agent.lane import Lane, Pending, record
from agent.ports.models import ModelFailed
from agent.ports.people import Accountant
from agent.sessions import records as kinds
from agent.settings import LimitSettings
from agent.slots import UserSlots
from agent.spending import usage_data
from agent.turn import Turn
from bus import context, events, tracing
from bus.deadline import Deadline
from bus.errors import CallCancelled, GatewayError, Overloaded, TimedOut
from bus.events import JsonObject

log = logging.getLogger("agent.turn")

ABORT = "abort"
PAUSE = "pause"
REFUSED = "refused"
STEER = "steer"
MERGED = "merged"
End = tuple[str, JsonObject, events.ChatDone | events.ChatError]
RETRY_SECONDS = (0.1, 0.3, 0.6, 1.0, 2.0, 3.0, 3.0)
"""Waits between attempts to record the end of a turn while the disk refuses."""


class Answer(Protocol):
    """What a supervisor's run comes to; the text is the turn's."""

    @property
    def finish_reason(self) -> str: ...

    @property
    def tool_calls(self) -> tuple[JsonObject, ...]: ...


class Supervisor(Protocol):
    """Whoever answers."""

    async def run(self, turn: Turn) -> Answer: ...


class TurnRunner:
    """One instance for all lanes."""

    def __init__(self, supervisor: Supervisor, limits: LimitSettings, accountant: Accountant | None) -> None:
        self._supervisor = supervisor
        self._accountant = accountant
        self._limits = limits
        self.slots = UserSlots(limits.turns_per_user)
        self.stopping = False

    async def run(self, lane: Lane, pending: Pending, queue: str, prepare: Callable[[], Awaitable[None]]) -> None:
        """Run the turn; returns when its end is recorded, or it is paused. Raises only CancelledError.

        `queue` is the session's queue mode; `prepare` is what is to be done before the turn begins.
        """
        message = pending.message
        context.trace_id.set(message.trace_id or context.new_trace_id())
        context.session_key.set(lane.key.text)
        turn: Turn | None = None
        try:
            if lane.abort_reason:  # it was cut before it took its first step
                raise asyncio.CancelledError
            if pending.progress.exhausted:
                raise TimedOut("this message could not be answered in three attempts")
            await prepare()
            await self.slots.acquire(message.actor.user)
            try:
                if self.stopping:
                    return
                turn = Turn(lane, pending, Deadline(self._limits.turn_seconds))
                turn.steering = queue == STEER
                turn.warning = await self._accountant.check(message.actor) if self._accountant else ""
                answer = await self._within_time(turn)
            finally:
                self.slots.release(message.actor.user)
            await self._done(lane, pending, turn, answer)
        except asyncio.CancelledError:
            if not lane.abort_reason:
                raise
            await self._cut(lane, pending, turn)
        except ModelFailed as failed:
            await self._failed(
                lane, pending, turn, failed.code, failed.message, failed.retryable, failed.retry_after_ms
            )
        except GatewayError as error:
            await self._failed(lane, pending, turn, error.code, error.message, error.retryable, error.retry_after_ms)
        except Exception:  # a fault of ours must end this turn, and no other
            log.exception("a turn failed")
            await self._failed(lane, pending, turn, Overloaded.code, "something went wrong here; try again", True, None)

    async def _within_time(self, turn: Turn) -> Answer:
        """The supervisor's run, within the turn's working time; waiting for a person is not counted."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(None) as scope:

                def changed() -> None:
                    if not scope.expired():  # else its time is over, whoever is asked now
                        scope.reschedule(None if turn.clock.paused else loop.time() + turn.clock.remaining())

                turn.clock_changed = changed
                changed()
                with tracing.span(tracing.TURN, turn.message.session.text, conversation=turn.message.message_id):
                    return await self._supervisor.run(turn)
        except TimeoutError as error:
            raise TimedOut(f"the answer took longer than {self._limits.turn_seconds:g} seconds") from error
        finally:
            turn.clock_changed = _nothing  # a question that is answered late moves no deadline any more

    # ------------------------------------------------------------ the ends

    async def _done(self, lane: Lane, pending: Pending, turn: Turn, answer: Answer) -> None:
        waiting = [one.accepted for one in (pending, *pending.merged) if not one.accepted.done()]
        if waiting:  # nothing was told so far: what is ready goes out before the books are kept
            await asyncio.wait(waiting)
        await self._charge(turn)
        message_id, text = turn.message.message_id, turn.text
        data: JsonObject = {
            "message_id": message_id,
            "role": "assistant",
            "text": text,
            "finish_reason": answer.finish_reason,
            "usage": usage_data(turn.spending.usage),
            "model": turn.model,
        }
        if turn.last_round != text:
            data["last_text"] = turn.last_round
        if answer.finish_reason == "length":
            data["partial"] = True
        if answer.tool_calls:
            data["tool_calls"] = list(answer.tool_calls)
        seq = lane.take()
        event = events.ChatDone(
            session=lane.key, message_id=message_id, seq=seq, text=text, finish_reason=answer.finish_reason,
            usage=turn.spending.usage, tool_calls=answer.tool_calls,
        )  # fmt: skip
        await self._end(lane, pending, [(kinds.DONE, data, event), *self._merged(lane, pending)])

    async def _failed(
        self, lane: Lane, pending: Pending, turn: Turn | None, code: int, text: str, retryable: bool,
        retry_after_ms: int | None,
    ) -> None:  # fmt: skip
        lane.ending = True  # nothing cuts it any more: a second stop would leave it without an end
        await self._charge(turn)
        message_id = pending.message.message_id
        data: JsonObject = {"message_id": message_id, "code": code, "message": text, "retryable": retryable}
        used = turn.spending.usage if turn is not None and turn.spending.usage.total_tokens else None
        if turn is not None and turn.text:
            data["partial"] = turn.text
        if used is not None:
            data["usage"] = usage_data(used)
        seq = lane.take()
        event = events.ChatError(
            session=lane.key, message_id=message_id, seq=seq, code=code, message=text, retryable=retryable,
            retry_after_ms=retry_after_ms, trace_id=context.current_trace_id(), usage=used,
        )  # fmt: skip
        await self._end(lane, pending, [(kinds.ERROR, data, event), *self._merged(lane, pending)])

    async def _cut(self, lane: Lane, pending: Pending, turn: Turn | None) -> None:
        """The turn was cancelled by us: for good, for now, or because its message is not durable."""
        reason, lane.abort_reason = lane.abort_reason, ""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()  # the cancellation was ours and has been answered
        if reason == ABORT:
            await self._failed(lane, pending, turn, CallCancelled.code, "stopped", False, None)
        elif reason == PAUSE and turn is not None and turn.began:
            seq = lane.take()
            data = {"message_id": pending.message.message_id, "attempt": turn.attempt, **turn.spending.as_data()}
            note = events.AgentNote(
                session=lane.key, message_id=pending.message.message_id, seq=seq, agent="", state="paused"
            )
            durable = lane.append(record(seq, kinds.TURN_PAUSED, data))
            lane.emit_when(durable, note)
            try:
                await asyncio.shield(durable)
            except GatewayError:
                log.warning("the disk refused the record of a paused turn; it counts as an attempt")

    @staticmethod
    def _merged(lane: Lane, pending: Pending) -> "list[End]":
        """The ends of the messages that the turn answered too: they have no text of their own."""
        ends: list[End] = []
        for item in pending.merged:
            if not item.kept:
                continue  # it is not in the log
            message_id, seq = item.message.message_id, lane.take()
            data: JsonObject = {"message_id": message_id, "role": "assistant", "text": "", "finish_reason": MERGED,
                                "usage": {}, "into": pending.message.message_id}  # fmt: skip
            event = events.ChatDone(session=lane.key, message_id=message_id, seq=seq, text="", finish_reason=MERGED,
                                    usage=events.Usage())  # fmt: skip
            ends.append((kinds.DONE, data, event))
        return ends

    async def _charge(self, turn: Turn | None) -> None:
        """Before a number is taken: between taking one and appending its record nothing may be awaited."""
        if turn is None or self._accountant is None:
            return
        try:
            await self._accountant.charge(turn.spending.charges())
        except Exception:  # a broken account book must not keep an answer back
            log.exception("what a turn cost could not be kept")

    async def _end(self, lane: Lane, pending: Pending, ends: "list[End]") -> None:
        """Record the ends as one, then tell them. While the disk refuses, try again for some seconds."""
        lane.ending = True
        try:
            for pause in (*RETRY_SECONDS, None):
                if not pending.kept:
                    return  # the message itself is not in the log
                records = [record(event.seq, kind, data) for kind, data, event in ends]
                durable = lane.append(*records)
                for written, (_, _, event) in zip(records, ends, strict=True):
                    if isinstance(event, events.ChatDone):
                        event.at = written.timestamp
                    lane.emit_when(durable, event)
                try:
                    await asyncio.shield(durable)
                    return
                except GatewayError as error:
                    if not pending.kept:
                        return
                    if pause is not None:
                        await asyncio.sleep(pause)
                    for _, _, event in ends:
                        event.seq = lane.take()  # what was recorded meanwhile went past the old numbers
                    if pause is None:
                        lane.forget_uncovered()
                        for _, _, event in ends:
                            lane.emit(self._not_durable(event, error))
                        return
        finally:
            lane.ending = False

    @staticmethod
    def _not_durable(event: events.ChatDone | events.ChatError, error: GatewayError) -> events.ChatError:
        """The answer exists but could not be kept: an error, and after a restart the turn is run again."""
        log.error("the end of a turn could not be recorded: %s", error.message)
        return events.ChatError(
            session=event.session, message_id=event.message_id, seq=event.seq, code=error.code,
            message=error.message, retryable=True, retry_after_ms=5000, trace_id=context.current_trace_id(),
        )  # fmt: skip


def _nothing() -> None:
    """The turn is over."""

"""Calls that wait for nobody: from the frame to the server's stdin and back without a task.

Most calls of a busy bridge are of this kind: the person's rules allow the tool whatever its arguments, it may be done
twice, its server runs and has room. For those a task with its awaits would cost more than all the rest. What they go
through is the same as on the long way (`execution.py`): rules, intent in ledger and audit, the answer in the ledger
before it leaves. As soon as something is out of the ordinary (the server dies in the call), the long way takes over.
"""

from collections.abc import Callable
from functools import partial

from bridge.answers import error_answer, plain, public_name, raw_response, refusal
from bridge.errors import BridgeError, CallCancelled, Effect, McpError, OutcomeUnknown, ServerDown, TimedOut
from bridge.execution import Execution, LiveCall, Parts
from bridge.ports import JsonObject, Outcome, Route
from bridge.protocol.outbox import Answer


class QuickCalls:
    """`finish(call, answer, effect)` takes an answer on; `start_over(call, route)` goes the long way."""

    def __init__(
        self, parts: Parts, execution: Execution, progress: Callable[[LiveCall, JsonObject], None],
        finish: Callable[[LiveCall, Answer, Effect], None], start_over: Callable[[LiveCall, Route], None],
    ) -> None:  # fmt: skip
        self._parts = parts
        self._execution = execution
        self._progress = progress
        self._finish = finish
        self._start_over = start_over

    def begin(self, call: LiveCall, route: Route) -> bool:
        """Run it, if it is of this kind; False where it has to go the long way, and nothing was done."""
        request = call.request
        if not call.idempotent or request.method != "tools/call" or request.confirm is not None:
            return False
        name = public_name(request)
        if request.remaining <= 0 or not self._execution.allowed(route, name):
            return False
        lane = self._parts.executor.lane(route)
        if lane is None:
            return False
        call.clock.limit(lane.timeout)
        self._execution.intend(call, name)
        try:
            call.posted = lane.post(
                request.params.get("arguments"), call.clock, partial(self._progress, call),
                partial(self._execution.ask_input, call), partial(self._finished, call, route),
            )  # fmt: skip
        except ValueError as error:
            self._end(call, ServerDown(f"the call failed: {type(error).__name__}", effect="none"))
            return True
        call.clock.watch(partial(self._late, call))
        return True

    def stop(self, call: LiveCall, error: BridgeError) -> None:
        """The call ends now, with `error`: its deadline passed, or somebody cancelled it."""
        if call.posted is not None:
            call.posted.abandon()
            self._end(call, error)

    def _late(self, call: LiveCall) -> None:
        self.stop(call, TimedOut(effect="unknown"))

    def drop(self, call: LiveCall) -> None:
        """The bridge stops: no answer, it ends in 2006 after the next start or is run again."""
        call.clock.stop()
        if call.posted is not None:
            call.posted.abandon()
            call.posted = None

    def _end(self, call: LiveCall, error: BridgeError) -> None:
        call.clock.stop()
        call.posted = None
        self._finish(call, error_answer(error), error.effect)

    def _finished(self, call: LiveCall, route: Route, outcome: Outcome) -> None:
        """The server answered, or died."""
        if isinstance(outcome, OutcomeUnknown):
            call.clock.stop()
            call.posted = None
            call.reached = True
            self._start_over(call, route)
            return
        try:
            answer = self._answer(call.request.id, outcome)
        except BridgeError as error:
            self._end(call, error)
            return
        call.clock.stop()
        call.posted = None
        self._finish(call, answer, "done")

    def _answer(self, call_id: str, outcome: Outcome) -> Answer:
        longest = self._parts.max_result_bytes
        if isinstance(outcome, McpError):
            return refusal(call_id, outcome, longest)
        if isinstance(outcome, BridgeError):
            raise outcome
        body = outcome.raw if outcome.raw is not None else plain(outcome.value)
        return raw_response(call_id, "result", body, longest)


CANCELLED = CallCancelled(effect="unknown")
"""A call that was posted may have been begun."""

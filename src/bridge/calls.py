"""Calls that came through the tunnel: known or new, run once, answered until acknowledged.

`tunnel.py` hands in what the protocol let pass; no socket is known here. The order for each call: what the ledger knows
of its key, then `execution.py` (policy, the person, intent written, the server), the answer written, the answer sent.
"""

import asyncio
import contextlib
import time
from collections.abc import Coroutine

from bridge.answers import error_answer, for_id, public_name
from bridge.clock import CallClock
from bridge.errors import (
    BridgeError,
    CallCancelled,
    Effect,
    IdempotencyConflict,
    OutcomeUnknown,
    Overloaded,
    ServerDown,
    TimedOut,
    ToolDenied,
)
from bridge.execution import METHODS, Execution, LiveCall, Parts
from bridge.ledger import content_of
from bridge.policy import idempotent
from bridge.ports import JsonObject, Route, Uplink
from bridge.protocol.bridge_effects import Requested
from bridge.protocol.outbox import Answer
from bridge.questions import Questions
from bridge.quick import CANCELLED, QuickCalls
from bridge.recovery import recover
from bridge.servers.alarm import Alarm

__all__ = ["Calls", "Parts"]


class Calls:
    """All calls of one bridge. `uplink` is set by the tunnel before anything comes in."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.uplink: Uplink | None = None
        self.refused = self.finished = 0
        self._live: dict[str, LiveCall] = {}
        self._keys: dict[str, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._questions = Questions(lambda: parts.policy().ask_timeout)
        self._alarm = Alarm()
        self._execution = Execution(parts, self._questions, self._progress, self._uplink_refuse)
        self._quick = QuickCalls(parts, self._execution, self._progress, self._finish_quick, self._run_as_task)

    def set_limit(self, max_result_bytes: int) -> None:
        """What the gateway takes at most, in bytes of a response."""
        self._parts.max_result_bytes = max_result_bytes

    @property
    def running(self) -> int:
        return len(self._live)

    def recover(self) -> None:
        """Before the first connection: answers from before a restart, and what the restart interrupted."""
        self._keys |= recover(self._parts)

    # ------------------------------------------------------------ what the tunnel hands in

    def handle(self, request: Requested) -> None:
        """A signed call, new or sent again."""
        parts = self._parts
        content = content_of(request.method, request.params, request.server, request.arguments_sha256)
        call = self._live.get(request.key)
        if call is not None:
            self._again(call, request, content)
            return
        if parts.ledger.busy(request.key):
            self._own(self._handle_later(request))
            return
        if request.id in parts.outbox.running:
            self._reject(request.id, IdempotencyConflict("this id belongs to another call"))
            return
        route = self._route(request)
        repeatable = route is not None and idempotent(route.rules, route.own_name)
        finding = parts.ledger.look(request.key, content, idempotent=repeatable, attempt=request.attempt)
        match finding.meaning:
            case "conflict":
                self._reject(request.id, IdempotencyConflict())
            case "unknown":
                self._reject(request.id, OutcomeUnknown("this call was begun before a restart", effect="unknown"))
            case "gone":
                self._reject(request.id, OutcomeUnknown("done, but the answer is not kept any more", effect="done"))
            case "answer" if finding.answer is not None:
                self._keys[request.id] = request.key
                self._deliver(request.id, for_id(finding.answer, request.id))
            case _:
                self._begin(request, content, route, repeatable)

    def cancel(self, call_id: str, reason: str) -> None:
        """Always answered: by `ERROR` 1009, unless the response was first."""
        for call in self._live.values():
            if call_id in call.ids:
                call.cancelled = True
                if call.task is not None and call.phase == "running":
                    call.task.cancel()  # one that waits will see it; where one is ending, the response was first
                self._quick.stop(call, CANCELLED)
                return
        if call_id not in self._parts.outbox.answers:
            self._reject(call_id, CallCancelled("nothing runs under this id"))

    async def _handle_later(self, request: Requested) -> None:
        """The same key ended a moment ago: let the ledger catch up first."""
        with contextlib.suppress(Overloaded):
            await self._parts.ledger.settle()
        self.handle(request)
        if self.uplink is not None:
            self.uplink.flush()

    def acknowledged(self, call_id: str) -> None:
        """The gateway has the answer to this call."""
        key = self._keys.pop(call_id, None)
        if key is not None:
            self._parts.ledger.acknowledged(key)

    def revoke_grants(self, grants: list[JsonObject]) -> None:
        """The user took back what was allowed: `[{"user", "tool"?, "session_key"?}]`."""
        for grant in grants:
            user, tool, session = grant.get("user"), grant.get("tool"), grant.get("session_key")
            if isinstance(user, str):
                self._parts.confirmations.revoke(
                    user, tool if isinstance(tool, str) else None, session if isinstance(session, str) else None
                )

    def announce_questions(self) -> None:
        """On a new connection: calls that wait for a person say so again."""
        for call in self._live.values():
            self._repeat_question(call)

    async def close(self) -> None:
        """End what runs; what had begun ends in 2006 after the next start."""
        self._parts.confirmations.closing = True
        for task in list(self._tasks):
            task.cancel()
        for call in [call for call in self._live.values() if call.posted is not None]:
            del self._live[call.request.key]
            self._quick.drop(call)
        if self._tasks:
            await asyncio.wait(self._tasks)
        self._parts.ledger.flush()

    async def drain(self, seconds: float) -> None:
        """Wait for what runs, at most `seconds`; what waits for a yes is asked anew after the next start."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and any(map(self._works, self._live.values())):  # noqa: ASYNC110 - in the end
            await asyncio.sleep(0.02)

    # ------------------------------------------------------------ one call

    def _begin(self, request: Requested, content: str, route: Route | None, repeatable: bool) -> None:
        call = LiveCall(
            request, content, CallClock(request.remaining, self._alarm), [request.id], idempotent=repeatable
        )
        self._live[request.key] = call
        self._parts.outbox.running[request.id] = None
        self._keys[request.id] = request.key
        if route is None or not self._quick.begin(call, route):
            self._run_as_task(call, route)

    def _run_as_task(self, call: LiveCall, route: Route | None) -> None:
        call.task = self._own(self._run(call, route))

    def _own(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _again(self, call: LiveCall, request: Requested, content: str) -> None:
        """The same key while it runs: attach, and take a person's answer out of it."""
        if content != call.content:
            self._reject(request.id, IdempotencyConflict(), keep=request.id not in call.ids)
            return
        if request.id not in call.ids:
            call.ids.append(request.id)
            self._keys[request.id] = request.key
            self._parts.outbox.running[request.id] = None
        call.clock.reset(request.remaining)
        try:
            if request.confirm is not None and not call.started:
                self._parts.confirmations.answer(request.confirm, call.ids[0], content)
                return
            if request.answer is not None and self._questions.answer(request.answer):
                return
        except BridgeError as error:
            self._uplink_refuse(error)
            if isinstance(error, ToolDenied):
                call.cancelled = True
                self._finish(call, error_answer(error), "none")
                if call.task is not None:
                    call.task.cancel()
            return
        self._repeat_question(call)

    def _works(self, call: LiveCall) -> bool:
        return call.started or self._parts.confirmations.repeat(call.ids[0]) is None

    def _repeat_question(self, call: LiveCall) -> None:
        payload = self._parts.confirmations.repeat(call.ids[0]) or self._questions.repeat(call.question)
        if payload is not None:
            self._progress(call, payload)

    async def _run(self, call: LiveCall, route: Route | None) -> None:
        effect: Effect = "none"
        task = asyncio.current_task()
        call.phase = "running"
        try:
            if call.cancelled:
                raise CallCancelled(effect="unknown" if call.started else "none")
            if call.request.remaining <= 0:
                raise TimedOut("the deadline had passed before it came")
            if task is not None:
                call.clock.watch(task.cancel)
            answer = await self._execution.answer(call, route)
            effect = "done"
        except asyncio.CancelledError:
            if not call.cancelled and not call.clock.passed:
                self._live.pop(call.request.key, None)
                raise
            if task is not None:
                task.uncancel()  # whoever wanted the end of this call gets an answer, not the end of the task
            effect = "unknown" if call.started else "none"
            answer = error_answer(CallCancelled(effect=effect) if call.cancelled else TimedOut(effect=effect))
        except BridgeError as failure:
            error = call.ended_by(failure)
            answer, effect = error_answer(error), error.effect
        except Exception as problem:  # whatever the executor did, the call must be answered and the bridge go on
            effect = "unknown" if call.started else "none"
            answer = error_answer(ServerDown(f"the call failed: {type(problem).__name__}", effect=effect))
        finally:
            call.clock.stop()
            call.phase, call.task = "ending", None  # a cancel that comes while the answer is written down is too late
        if call.request.key in self._live:
            await self._keep(call, answer, effect)
            self._finish(call, answer, effect)
            if self.uplink is not None:
                self.uplink.flush()  # from here, rather than by waking another task

    async def _keep(self, call: LiveCall, answer: Answer, effect: Effect) -> None:
        """Into the ledger, before it leaves."""
        row = call.row("done", answer, effect)
        if call.idempotent or not call.started:
            self._parts.ledger.done_soon(call.request.key, row)
            return
        with contextlib.suppress(Overloaded):  # the disk refuses: the person still gets the answer
            await self._parts.ledger.done(call.request.key, row)

    def _finish_quick(self, call: LiveCall, answer: Answer, effect: Effect) -> None:
        """The same for a call without a task: it may be done twice, so the ledger's file is not waited for."""
        self._parts.ledger.done_soon(call.request.key, call.row("done", answer, effect))
        self._finish(call, answer, effect)
        if self.uplink is not None:
            self.uplink.flush()

    def _finish(self, call: LiveCall, answer: Answer, effect: Effect) -> None:
        if self._live.pop(call.request.key, None) is None:
            return
        self.finished += 1
        self.refused += answer.kind == "ERROR"
        self._parts.audit.note("tool.outcome", call_id=call.request.id, kind=answer.kind, effect=effect)
        for call_id in call.ids:
            self._parts.outbox.running.pop(call_id, None)
            self._deliver(call_id, for_id(answer, call_id))

    def _progress(self, call: LiveCall, payload: JsonObject) -> None:
        if self.uplink is not None:
            for call_id in call.ids:
                self.uplink.progress(call_id, payload)

    # ------------------------------------------------------------ ways out

    def _route(self, request: Requested) -> Route | None:
        name = request.server if request.method == "resources/read" else public_name(request)
        if not name or request.method not in METHODS:
            return None
        return self._parts.executor.route(name, request.method)

    def _reject(self, call_id: str, error: BridgeError, *, keep: bool = True) -> None:
        """End a call that never ran here; without `keep` only the frame is refused."""
        if keep and call_id not in self._parts.outbox.running:
            self._deliver(call_id, error_answer(error))
        else:
            self._uplink_refuse(error)

    def _deliver(self, call_id: str, answer: Answer) -> None:
        self._parts.outbox.answers[call_id] = answer
        if self.uplink is not None:
            self.uplink.answered(call_id)

    def _uplink_refuse(self, error: BridgeError) -> None:
        if self.uplink is not None:
            self.uplink.refuse(error)

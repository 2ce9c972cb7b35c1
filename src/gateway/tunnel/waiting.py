"""One call that is waited for: its deadline, and the questions that come up in it."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Literal, TypeGuard

from agent.ports.tools import ApprovalAnswered, ApprovalAsked, Progress, QuestionAsked, Report, ToolCall
from bridge.servers.alarm import Alarm
from bus.context import timestamp
from bus.deadline import Deadline
from bus.errors import ConfirmationRequired, GatewayError, TimedOut
from bus.events import JsonObject
from gateway.tunnel.bridge import Bridge
from gateway.tunnel.ports import Challenge, Desk

_CLOSING_SECONDS = 2.0
MOST_ASKED = 100
"""What may be asked in one call; more is passed over, and the bridge's own time to ask ends it. Each question costs a
task, and is looked at for each later one."""
Spawn = Callable[[Coroutine[None, None, None]], "asyncio.Task[None]"]


class Waiting:
    """A `Waiter` of the bridge, and a clock of the alarm. `result` ends with the JSON-RPC answer or a GatewayError."""

    _nearly_over = float("inf")
    """When the bridge's question has as good as expired: what it refuses from then on, nobody refused."""

    def __init__(
        self, *, bridge: Bridge, call: ToolCall, own: str, content: tuple[str, str], wire_id: str, deadline: Deadline,
        report: Report, desk: Desk, spawn: Spawn, alarm: Alarm,
    ) -> None:  # fmt: skip
        self.content = content
        self.reason = "the caller went away"
        self.result: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._joined: list[asyncio.Future[JsonObject]] = []
        self._bridge = bridge
        self._call = call
        self._own_name = own
        self._id = wire_id
        self._deadline = deadline
        self._report = report
        self._desk = desk
        self._spawn = spawn
        self._alarm = alarm
        self._asking: dict[str, asyncio.Task[None]] = {}

    # ------------------------------------------------------------ from the bridge

    def answered(self, payload: JsonObject) -> None:
        self._leave_questions("allow_once")
        for future in (self.result, *self._joined):
            if not future.done():
                future.set_result(payload)

    def failed(self, error: GatewayError) -> None:
        late = time.monotonic() >= self._nearly_over
        self._leave_questions("deny" if error.code == 2004 and not late else "expired")
        for future in (self.result, *self._joined):
            if not future.done():
                future.set_exception(error)
                future.exception()  # whoever waited may have gone

    def join(self) -> "asyncio.Future[JsonObject]":
        """The same result for somebody else who asked for the same call."""
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        self._joined.append(future)
        return future

    def progressed(self, payload: JsonObject) -> None:
        state = payload.get("state")
        if state == "awaiting_confirm":
            self._confirm(payload)
        elif state == "awaiting_input":
            self._input(payload)
        else:
            if state == "running":
                self._leave_questions("allow_once")
            progress, total, message = payload.get("progress"), payload.get("total"), payload.get("message")
            if isinstance(progress, int | float) and not isinstance(progress, bool):
                self._report(
                    Progress(
                        progress=progress,
                        total=total if isinstance(total, int | float) else None,
                        message=message[:500] if isinstance(message, str) else None,
                    )
                )

    # ------------------------------------------------------------ the deadline

    def arm(self) -> None:
        """Let the deadline end the call; again whenever it goes on after a pause."""
        if self.running and not self.result.done():
            self._alarm.watch(self, time.monotonic() + self._deadline.remaining())

    @property
    def running(self) -> bool:
        return not self._deadline.paused

    def remaining(self) -> float:
        return self._deadline.remaining()

    def over(self) -> None:
        """The deadline passed."""
        self.reason = "the deadline passed"
        away = self._bridge.too_late(self._id)
        self.failed(away or TimedOut("the tool did not answer in time", effect="unknown"))

    async def end(self, *, keep: bool) -> None:
        """Nobody waits any more; questions are closed before, so that nothing is reported after the call.

        With `keep` they stay at the desk, for the turn that goes on after a restart.
        """
        self._alarm.forget(self)
        if not self._asking:
            return
        open_ = [task for task in self._asking.values() if not task.done()]
        if keep:
            for task in open_:
                task.cancel()
        else:
            self._leave_questions("expired")
        if open_:
            await asyncio.wait(open_, timeout=_CLOSING_SECONDS)

    # ------------------------------------------------------------ questions

    def _may_ask(self, asked: object) -> TypeGuard[str]:
        """Whether it is the id of a question that did not come before in this call, and there is room for one more."""
        if not isinstance(asked, str) or not 0 < len(asked) <= 128:
            return False
        return asked not in self._asking and len(self._asking) < MOST_ASKED

    def _confirm(self, payload: JsonObject) -> None:
        challenge, where = payload.get("challenge"), payload.get("where")
        if not self._may_ask(challenge):
            return
        local = where == "bridge"
        if not local and (not self._call.attended or self._call.actor.role == "service"):
            self.reason = "nobody is there who could be asked"
            self._bridge.perform(self._bridge.give_up(self._id, self.reason))
            self.failed(ConfirmationRequired("this call needs a person's yes, and nobody is there to ask"))
            return
        self._leave_questions("expired")  # a bridge that asks anew has given up what it asked before
        seconds = _seconds(payload.get("expires_in_ms"))
        asked = Challenge(
            approval_id=challenge, call_id=self._call.call_id, tool=self._call.name, arguments=self._call.arguments,
            risk=str(payload.get("risk", ""))[:500], expires=time.time() + seconds, actor=self._call.actor,
            bridge_id=self._bridge.bridge_id, own_tool=self._own_name, session=self._call.session,
            message_id=self._call.message_id, where="bridge" if local else None,
        )  # fmt: skip
        self._nearly_over = time.monotonic() + seconds - min(1.0, seconds / 10)
        self._asking[challenge] = self._spawn(self._ask(asked))

    async def _ask(self, asked: Challenge) -> None:
        update = ApprovalAsked(
            approval_id=asked.approval_id, tool=asked.tool, arguments=asked.arguments, risk=asked.risk,
            expires_at=timestamp(asked.expires), where=asked.where,
        )  # fmt: skip
        self._deadline.pause()
        try:
            decision, by = await self._desk.ask_for_bridge(asked, lambda: self._report(update))
        except GatewayError as error:  # nobody can be asked now: the caller need not wait until nobody has answered
            self.reason = "the question could not be kept"
            self._bridge.perform(self._bridge.give_up(self._id, self.reason))
            self.failed(error)
            return
        finally:
            self._deadline.resume()
            self.arm()
        self._report(ApprovalAnswered(approval_id=asked.approval_id, decision=decision or "expired", by=by))
        if decision in ("allow_once", "allow_session", "allow_always", "deny") and by != "bridge":
            confirm = {"challenge": asked.approval_id, "decision": decision, "by": by, "at": timestamp()}
            self._bridge.perform(self._bridge.session.tell(self._id, confirm=confirm))

    def _input(self, payload: JsonObject) -> None:
        question_id, schema = payload.get("question_id"), payload.get("schema")
        if not self._may_ask(question_id):
            return
        message = str(payload.get("message", ""))[:4000]
        self._asking[question_id] = self._spawn(
            self._question(
                question_id, message, schema if isinstance(schema, dict) else {}, _seconds(payload.get("expires_in_ms"))
            )
        )

    async def _question(self, question_id: str, message: str, schema: JsonObject, seconds: float) -> None:
        answer: dict[str, Any] = {"action": "cancel"}
        if self._call.attended and self._call.actor.role != "service":
            self._deadline.pause()
            try:
                self._report(QuestionAsked(question_id=question_id, message=message, schema=schema))
                answer = await self._desk.ask_input(question_id, self._call.actor, seconds)
            finally:
                self._deadline.resume()
                self.arm()
        told = {"question_id": question_id, **answer}
        self._bridge.perform(self._bridge.session.tell(self._id, answer=told))

    def _leave_questions(self, decision: Literal["allow_once", "deny", "expired"]) -> None:
        """The bridge went on without the chat's answer: its terminal said something, or the time was over."""
        for asked in list(self._asking) if self._asking else ():
            self._desk.settled_elsewhere(asked, decision)


def _seconds(left: object) -> float:
    """How long a bridge's question stands, by its `expires_in_ms`."""
    return min(left, 600_000) / 1000 if isinstance(left, int) and left > 0 else 60.0

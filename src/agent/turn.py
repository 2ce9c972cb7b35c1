"""One turn while it runs: what the modes may do, and how it reaches the log and the readers.

A turn turns the modes' doings into records and events, in that order where it
matters: an attempt and a tool's intent are recorded before they begin, a result
before it is used, the answer before `chat.done`. Above are `supervisor.py` and the
modes; below is the lane. It knows no model and no tool.
"""

import asyncio
from collections.abc import Callable
from dataclasses import asdict

from agent.lane import BLOCK, Lane, Pending, record
from agent.ports.sessions import Record
from agent.ports.tools import ApprovalAnswered, ApprovalAsked, Progress, QuestionAsked, ToolCall, ToolResult, ToolUpdate
from agent.resume import TurnProgress
from agent.sessions import records as kinds
from agent.spending import Spending
from agent.tools.results import text_of
from bus import events
from bus.deadline import Deadline
from bus.events import JsonObject, MediaRef, Usage

PREVIEW_CHARS = 400
JOINT = "\n\n"


class Turn:
    """The running turn of `pending` in `lane`."""

    def __init__(self, lane: Lane, pending: Pending, clock: Deadline) -> None:
        self.lane = lane
        self.message = pending.message
        self.steering = False
        """Whether messages that come meanwhile join this turn."""
        self.progress: TurnProgress = pending.progress
        self.clock = clock
        self.alone = True
        """Whether the turn's own round is all that is at work: no sub-agents."""
        self.spending = Spending(pending.message, pending.progress)
        self.mode = ""
        self.model = ""
        self._pending = pending
        self._key = lane.key
        self._id = pending.message.message_id
        self._parts: list[str] = []
        self._joint = False
        self._round_at = 0
        """Where in the parts the round begins that streams now."""
        self.clock_changed: Callable[[], None] = _nothing
        """Called when `clock` stands still or goes on."""
        self.began = False
        self.warning = ""
        """Said beside the answer: the budget runs low."""
        self._asked: dict[str, str] = {}
        """Who is being asked what: question id -> call id."""
        self._open: set[str] = set()
        self._unmade: set[str] = set()
        """Of the open calls those that wait for a yes, and are not made."""

    @property
    def also(self) -> list[str]:
        """Ids of the other messages that this turn answers."""
        return [item.message.message_id for item in self._pending.merged]

    @property
    def files(self) -> list[tuple[str, tuple[MediaRef, ...]]]:
        """What came along with the messages that this turn answers, by message."""
        messages = [self.message, *(item.message for item in self._pending.merged)]
        return [(message.message_id, message.media) for message in messages if message.media]

    def steer(self) -> None:
        """Between two rounds: take in what the person said meanwhile, where he wants it so."""
        if self.steering and self.lane.absorb(self._pending):
            self.note("supervisor", "steered")

    # ------------------------------------------------------------ text

    @property
    def text(self) -> str:
        """The answer so far: the deltas since the last start, joined."""
        return "".join(self._parts)

    @property
    def last_round(self) -> str:
        """The text of the round that streams now."""
        return "".join(self._parts[self._round_at :])

    def begin(self, mode: str, model: str, reason: str = "") -> None:
        """Record and announce an attempt. Rounds of an earlier attempt are streamed again from the log."""
        self.mode, self.model, self.began = mode, model, True
        attempt = self.attempt
        seq = self.lane.take()
        self.lane.reserved = seq + BLOCK
        data = {"message_id": self._id, "attempt": attempt, "mode": mode, "model": model, "reason": reason,
                "reserved": self.lane.reserved}  # fmt: skip
        # Not awaited: what is told before it is on the disk is at most an attempt that does not count.
        # As a rule it goes with the message: the disk works while the model is asked, and its sync is done first.
        self.lane.reserving(self.lane.append(record(seq, kinds.TURN_STARTED, data)))
        self.lane.emit(
            events.ChatStarted(
                session=self._key, message_id=self._id, seq=seq, mode=mode, model=model, attempt=attempt, reason=reason
            )
        )
        if self.warning:
            self.note("budget", "warning", self.warning)
        for model, usage in self.progress.spent.items():
            self.spending.add(Usage(**usage), model)
        for step in self.progress.rounds:
            self.next_round()
            if step.text:
                self.delta(step.text)
            if step.model or not self.progress.spent:  # else the pause has counted it
                self.spending.add(Usage(**step.usage))

    def next_round(self) -> None:
        """What comes now is another round: it is joined to the text before by an empty line."""
        self._joint = bool(self._parts)
        self._round_at = len(self._parts) + self._joint

    def delta(self, text: str) -> None:
        """A piece of the answer. The hot path: no await, no lookup, no copy."""
        if not text:
            return
        if self._joint:
            self._joint = False
            self._delta(JOINT)
        self._delta(text)

    def _delta(self, text: str) -> None:
        lane = self.lane
        self._parts.append(text)
        lane.emit(events.ChatDelta(self._key, self._id, lane.take_unstored(), text))

    def note(self, agent: str, state: str, text: str = "") -> None:
        """Say what a sub-agent is doing, beside the answer."""
        seq = self.lane.take_unstored()
        self.lane.emit(
            events.AgentNote(session=self._key, message_id=self._id, seq=seq, agent=agent, state=state, text=text)
        )

    @property
    def attempt(self) -> int:
        """The number of this attempt, from 1."""
        return self.progress.attempts + 1

    # ------------------------------------------------------------ tools

    async def tool_started(self, call: ToolCall, *, step: JsonObject | None, agent: str, wait: bool) -> None:
        """Record the intent; with `wait`, return only when it is on the disk.

        `step` is the model's whole round, given with its first call.
        """
        seq = self.lane.take()
        self._open.add(call.call_id)
        self._judge_standing()
        data: JsonObject = {"message_id": self._id, "call_id": call.call_id, "name": call.name,
                            "arguments": call.arguments}  # fmt: skip
        if agent:
            data["agent"] = agent
        if step is not None:
            data["round"] = step
        durable = self._record(
            record(seq, kinds.TOOL_STARTED, data),
            events.ToolStarted(
                session=self._key, message_id=self._id, seq=seq, call_id=call.call_id, name=call.name,
                arguments=call.arguments, agent=agent,
            ),
        )  # fmt: skip
        if wait:
            await asyncio.shield(durable)

    def tool_update(self, call: ToolCall, update: ToolUpdate) -> None:
        """Progress, or somebody is asked: the turn's clock stands still while he thinks."""
        key, message_id, user = self._key, self._id, self.message.actor.user
        match update:
            case Progress():
                self.lane.emit(
                    events.ToolProgress(
                        session=key, message_id=message_id, seq=self.lane.take_unstored(), call_id=call.call_id,
                        progress=update.progress, total=update.total, message=update.message,
                    )
                )  # fmt: skip
            case ApprovalAsked():
                seq = self.lane.take()
                event = events.ApprovalRequested(
                    session=key, message_id=message_id, seq=seq, user=user, call_id=call.call_id,
                    approval_id=update.approval_id, tool=update.tool, arguments=update.arguments, risk=update.risk,
                    expires_at=update.expires_at, where=update.where,
                )  # fmt: skip
                data = {"message_id": message_id, "call_id": call.call_id, "approval_id": update.approval_id,
                        "tool": update.tool, "arguments": update.arguments, "risk": update.risk,
                        "expires_at": update.expires_at}  # fmt: skip
                self._record(record(seq, kinds.APPROVAL_REQUESTED, data), event)
                self._unmade.add(call.call_id)
                self._stand_still(update.approval_id, call.call_id)
            case ApprovalAnswered():
                seq = self.lane.take()
                answered = events.ApprovalResolved(
                    session=key, message_id=message_id, seq=seq, user=user, approval_id=update.approval_id,
                    decision=update.decision, by=update.by,
                )  # fmt: skip
                data = {"message_id": message_id, "call_id": call.call_id, "approval_id": update.approval_id,
                        "decision": update.decision, "by": update.by}  # fmt: skip
                self._record(record(seq, kinds.APPROVAL_RESOLVED, data), answered)
                self._unmade.discard(call.call_id)
                self._go_on(update.approval_id)
            case QuestionAsked():
                self.lane.emit(
                    events.QuestionRequested(
                        session=key, message_id=message_id, seq=self.lane.take_unstored(), user=user,
                        question_id=update.question_id, message=update.message, schema=update.schema,
                    )
                )  # fmt: skip
                self._stand_still(update.question_id, call.call_id)

    def _stand_still(self, question: str, call_id: str) -> None:
        if question not in self._asked:
            self._asked[question] = call_id
            self.clock.pause()
            self.clock_changed()
        self._judge_standing()

    def _go_on(self, question: str) -> None:
        if self._asked.pop(question, None) is not None:
            self.clock.resume()
            self.clock_changed()
        self._judge_standing()

    def _judge_standing(self) -> None:
        """Whether nothing goes on but waiting for a yes."""
        self.lane.standing = self.alone and bool(self._unmade) and self._open <= self._unmade

    async def tool_finished(self, call: ToolCall, result: ToolResult, text: str, *, agent: str) -> None:
        """Record the result before anybody uses it; `text` is how the model gets it."""
        self._open.discard(call.call_id)
        self._unmade.discard(call.call_id)
        self._judge_standing()
        self.spending.tool_calls += 1
        for question, call_id in tuple(self._asked.items()):
            if call_id == call.call_id:
                self._go_on(question)
        seq = self.lane.take()
        data: JsonObject = {
            "message_id": self._id, "call_id": call.call_id, "name": call.name, "content": list(result.content),
            "structured_content": result.structured_content, "is_error": result.is_error,
            "duration_ms": result.duration_ms, "code": result.code, "effect": result.effect,
        }  # fmt: skip
        if agent:
            data["agent"] = agent
        plain = text_of(result.content, result.structured_content)
        if text != plain:
            data["text"] = text
        if result.media:
            data["media"] = [asdict(ref) for ref in result.media]
        durable = self._record(
            record(seq, kinds.TOOL_FINISHED, data),
            events.ToolFinished(
                session=self._key, message_id=self._id, seq=seq, call_id=call.call_id, is_error=result.is_error,
                duration_ms=result.duration_ms, preview=plain[:PREVIEW_CHARS], media=result.media,
            ),
        )  # fmt: skip
        await asyncio.shield(durable)

    # ------------------------------------------------------------ records

    def _record(self, item: Record, event: events.Event) -> "asyncio.Future[None]":
        durable = self.lane.append(item)
        self.lane.emit_when(durable, event)
        return durable


def _nothing() -> None:
    """Nobody listens yet."""

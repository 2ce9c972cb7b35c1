"""What a chat asks people: approvals by buttons, and the simple questions of tool servers, until they are over.

An approval's buttons outlive a restart (the ledger knows them). A server's question does not: its call is cut with
the gateway and asks anew, and what was asked before says so. Answers are told to the desk, which checks once more
whose they are. Above are `taps.py`, `inbound.py` and `host.py`; `forms.py` and `approvals.py` are the words.
"""

import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from bus.errors import GatewayError, NotFound
from bus.events import Actor, ApprovalResolved, JsonObject
from channels import forms, narrator
from channels.base import Address
from channels.items import Item
from channels.lane import Lane
from channels.ledger import Ledger, OpenApproval
from channels.narrator import OpenQuestion
from channels.outbox import Outbox
from channels.ports import ApprovalDesk
from channels.wording import refusal, say


@dataclass(frozen=True, slots=True)
class Answered:
    """A text was an answer; `notice` is what the person is told, '' for nothing more than the question's sign."""

    notice: str = ""


class Questions:
    """For one channel. `lane` gives a chat's way out, `spawn` a task with an owner."""

    def __init__(
        self,
        *,
        desk: ApprovalDesk,
        ledger: Ledger,
        outbox: Outbox,
        lane: Callable[[Address], Lane | None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self._desk = desk
        self._ledger = ledger
        self._outbox = outbox
        self._lane = lane
        self._spawn = spawn
        self._open: dict[str, OpenQuestion] = {}

    # ------------------------------------------------------------ questions of servers

    def opened(self, question: OpenQuestion) -> None:
        """It is asked: its buttons and texts count from now on."""
        self._open[question.kept.token] = question

    def over(self, message_id: str) -> None:
        """The turn ended: nobody waits for an answer any more."""
        for question in [q for q in self._open.values() if q.turn == message_id]:
            self._settle(question, say("closed", question.kept.language))

    def over_since_the_restart(self, lane: Lane, item: Item) -> None:
        """Asked before a restart: its buttons go."""
        turn = lane.chat.turns.get(item.turn)
        narrator.sign(lane.chat, item, say("closed", turn.language if turn else "en"))

    async def pressed(self, token: str, what: str, actor: Actor) -> str | None:
        """A button of a question, pressed by whom it asked: what he is told; None where it is no longer open."""
        question = self._open.get(token)
        if question is None:
            return None
        if what == forms.DECLINE:
            return await self._tell(question, "decline", None, say("declined", actor.language), actor)
        choices = question.form.choices
        if int(what) >= len(choices):
            return ""
        choice = choices[int(what)]
        return await self._accept(question, choice.value, choice.label, actor)

    async def said(self, text: str, to: Address, requester: str, actor: Actor) -> Answered | None:
        """A text in a chat: an answer, where this person has been asked for one there; else None."""
        question = next((q for q in reversed(self._open.values()) if _is_for(q, to, requester, actor)), None)
        if question is None or not text.strip():
            return None
        try:
            found = forms.read(question.form, text, actor.language)
        except forms.Unreadable as hint:
            return Answered(str(hint))
        if found is None:
            return None
        told = await self._accept(question, *found, actor)
        return None if told is None else Answered("" if question.kept.token not in self._open else told)

    async def _accept(self, question: OpenQuestion, value: Any, shown: str, actor: Actor) -> str | None:
        return await self._tell(question, "accept", question.form.content(value), f"✅ {shown[:100]}", actor)

    async def _tell(
        self, question: OpenQuestion, action: str, content: JsonObject | None, sign: str, actor: Actor
    ) -> str | None:
        try:
            await self._desk.answer(question.kept.approval_id, action, content, actor)
        except NotFound:
            self._settle(question, say("closed", question.kept.language))
            return None
        except GatewayError as error:
            return refusal(error, actor.language)
        self._settle(question, sign)
        return sign

    def _settle(self, question: OpenQuestion, sign: str) -> None:
        self._open.pop(question.kept.token, None)
        lane = self._lane(question.address)
        if lane is not None:
            narrator.sign(lane.chat, question.item, sign)
            lane.wake()

    # ------------------------------------------------------------ approvals

    async def located(self, asked: OpenApproval, message_id: str) -> None:
        """A button of it was pressed there: a question whose sending was in doubt has arrived, and can be edited."""
        found = await self._outbox.find(asked.delivery_id)
        if found is None or found[1].state != "unknown" or not message_id:
            return
        item = found[1]
        lane = self._lane(item.address)
        if lane is None:
            return
        item = next((each for each in lane.chat.items if each.delivery_id == item.delivery_id), item)
        if item.state == "unknown":
            lane.chat.arrived(item, message_id)
            lane.wake()

    def decided(self, lane: Lane, event: ApprovalResolved) -> None:
        """The buttons go and the text says what was decided, also where it was asked before a restart."""
        item = next((i for i in lane.chat.items if i.reference == event.approval_id), None)
        if item is None:
            self._spawn(self._decided_before(lane, event))
            return
        turn = lane.chat.turns.get(item.turn)
        narrator.decide(lane.chat, item, event, turn.language if turn else "en")
        lane.wake()

    async def _decided_before(self, lane: Lane, event: ApprovalResolved) -> None:
        asked = await self._ledger.asked_about(event.approval_id)
        for kept in await self._outbox.by_reference(event.approval_id):
            item = next((each for each in lane.chat.items if each.delivery_id == kept.delivery_id), kept)
            if item.platform_id is None:
                continue
            if item is kept:  # a second press may have brought it back meanwhile
                lane.chat.restore(item, time.monotonic())
            narrator.decide(lane.chat, item, event, asked.language if asked else "en")
        lane.wake()


def _is_for(question: OpenQuestion, to: Address, requester: str, actor: Actor) -> bool:
    return question.address == to and may_answer(question.kept, requester, actor)


def may_answer(asked: OpenApproval, requester: str, actor: Actor) -> bool:
    """Whether this is who was asked."""
    return asked.requester in ("", requester) and asked.user in ("", actor.user)

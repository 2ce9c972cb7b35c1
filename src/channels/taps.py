"""Presses on buttons: a decision by who was asked, once; to anyone else nothing happens.

They pass the same gate as messages. What a button stands for is in the ledger,
who may decide is checked here and once more by the desk.
"""

from dataclasses import replace
from typing import Protocol

from bus.errors import GatewayError, NotFound
from bus.events import Actor, Decision
from channels import forms
from channels.approvals import read_button
from channels.base import BaseChannel, Tap
from channels.ledger import Ledger, OpenApproval
from channels.ports import Admitted, ApprovalDesk, Gatekeeper
from channels.questions import Questions, may_answer
from channels.wording import decided, refusal, say


class CloseQuestion(Protocol):
    """Take the buttons off a question that is no longer asked."""

    def __call__(self, approval_id: str, session: str) -> None: ...


class Taps:
    """For one channel."""

    def __init__(
        self, *, gatekeeper: Gatekeeper, ledger: Ledger, desk: ApprovalDesk, questions: Questions,
        question_closed: CloseQuestion,
    ) -> None:  # fmt: skip
        self._gate = gatekeeper
        self._ledger = ledger
        self._desk = desk
        self._questions = questions
        self._question_closed = question_closed

    async def tap(self, channel: BaseChannel, tap: Tap) -> None:
        """Decide, and end the platform's waiting sign."""
        await tap.tell(await self._decide(channel, tap))

    async def _decide(self, channel: BaseChannel, tap: Tap) -> str:
        decision, answer = read_button(tap.data), forms.read_button(tap.data)
        pressed = decision or answer
        if pressed is None or tap.identity.bot:
            return ""
        admission = await self._gate.admit(tap.identity, tap.place)
        asked = await self._ledger.asked(pressed[0])
        if not isinstance(admission, Admitted) or asked is None or asked.channel != channel.name:
            return ""
        if not may_answer(asked, str(tap.identity), admission.actor):
            return ""
        actor = replace(admission.actor, language=asked.language)  # Feishu does not say which one who presses reads
        await self._questions.located(asked, tap.message_id)
        if answer is not None:
            told = await self._questions.pressed(*answer, actor)
        else:
            assert decision is not None
            told = await self._resolve(asked, decision[1], actor)
        if told is None:
            self._question_closed(asked.approval_id, asked.session)
            return say("closed", actor.language)
        return told

    async def _resolve(self, asked: OpenApproval, decision: Decision, actor: Actor) -> str | None:
        """What is said to a decision; None where nobody asks any more."""
        try:
            resolved = await self._desk.resolve(asked.approval_id, decision, actor)
        except NotFound:
            return None
        except GatewayError as error:
            return refusal(error, actor.language)
        return decided(decision, actor.language) if resolved else None

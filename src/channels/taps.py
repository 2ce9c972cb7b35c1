"""Presses on buttons: a decision by who was asked, once; to anyone else nothing happens.

They pass the same gate as messages. What a button stands for is in the ledger,
who may decide is checked here and once more by the desk.
"""

from typing import Protocol

from bus.errors import Forbidden, GatewayError, NotFound
from channels.approvals import read_button
from channels.base import BaseChannel, Tap
from channels.ledger import Ledger
from channels.ports import Admitted, ApprovalDesk, Gatekeeper
from channels.wording import decided, say


class CloseQuestion(Protocol):
    """Take the buttons off a question that is no longer asked."""

    def __call__(self, approval_id: str, session: str) -> None: ...


class Taps:
    """For one channel."""

    def __init__(
        self, *, gatekeeper: Gatekeeper, ledger: Ledger, desk: ApprovalDesk, question_closed: CloseQuestion
    ) -> None:
        self._gate = gatekeeper
        self._ledger = ledger
        self._desk = desk
        self._question_closed = question_closed

    async def tap(self, channel: BaseChannel, tap: Tap) -> None:
        """Decide, and end the platform's waiting sign."""
        await tap.tell(await self._decide(channel, tap))

    async def _decide(self, channel: BaseChannel, tap: Tap) -> str:
        button = read_button(tap.data)
        if button is None or tap.identity.bot:
            return ""
        admission = await self._gate.admit(tap.identity, tap.place)
        asked = await self._ledger.asked(button[0])
        if not isinstance(admission, Admitted) or asked is None or asked.channel != channel.name:
            return ""
        actor = admission.actor
        if (asked.requester and asked.requester != str(tap.identity)) or (asked.user and asked.user != actor.user):
            return ""
        try:
            resolved = await self._desk.resolve(asked.approval_id, button[1], actor)
        except NotFound:
            resolved = False
        except (Forbidden, GatewayError) as error:
            return error.message
        if not resolved:
            self._question_closed(asked.approval_id, asked.session)
            return say("closed", actor.language)
        return decided(button[1], actor.language)

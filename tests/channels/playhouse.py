"""A house around real channels: the manager, the bus, and an agent whose turns the test plays.

The agent is an acceptor like the real one (durable at once, one turn per key, also
over a restart of the channels) that publishes what the test says. Everybody is let
in, as the user named after him. Used by the tests that count what a person sees.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from bus.context import timestamp
from bus.events import (
    Accepted,
    Actor,
    ApprovalRequested,
    ApprovalResolved,
    ChatDelta,
    ChatDone,
    ChatStarted,
    Decision,
    InboundMessage,
    MediaRef,
    Usage,
)
from bus.keys import SessionKey
from bus.message_bus import MemoryBus
from channels.manager import ChannelManager
from channels.ports import Admission, Admitted, Identity, Outcome, Place
from channels.settings import ChannelsSettings


class OpenDoor:
    """A gatekeeper who lets everyone in."""

    async def admit(self, identity: Identity, place: Place) -> Admission:
        return Admitted(actor=Actor(user=f"{identity.channel}-{identity.peer}", channel=identity.channel,
                                    identity=str(identity), language=identity.language))  # fmt: skip

    async def link(self, code: str, identity: Identity) -> str:
        return code


class Drawer:
    """Files, by id."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def save(self, data: bytes, *, mime: str, name: str, owner: str) -> MediaRef:
        media_id = f"media-{len(self.files)}"
        self.files[media_id] = data
        return MediaRef(media_id=media_id, mime=mime, name=name, size=len(data))

    async def read(self, ref: MediaRef, owner: str) -> bytes:
        return self.files[ref.media_id]


class Turn:
    """One turn, as the test plays it."""

    def __init__(self, agent: "PlayedAgent", message: InboundMessage) -> None:
        self.agent = agent
        self.message = message
        self.text = ""
        self.state: Any = "open"
        self.attempt = 0

    def start(self) -> "Turn":
        """`chat.started`, which voids what was said."""
        self.attempt += 1
        self.text = ""
        self.agent.bus.publish(
            ChatStarted(session=self.message.session, message_id=self.message.message_id, seq=self.agent.number(),
                        mode="fast", model="m", attempt=self.attempt)
        )  # fmt: skip
        return self

    def says(self, text: str) -> None:
        """`chat.delta`."""
        self.text += text
        self.agent.bus.publish(ChatDelta(self.message.session, self.message.message_id, self.agent.number(), text))

    def ends(self) -> None:
        """`chat.done`."""
        self.state = "ended"
        self.agent.bus.publish(
            ChatDone(session=self.message.session, message_id=self.message.message_id, seq=self.agent.number(),
                     text=self.text, finish_reason="stop", usage=Usage())
        )  # fmt: skip

    def asks(self, approval_id: str, tool: str) -> None:
        """`approval.requested`."""
        self.agent.bus.publish(ApprovalRequested(
            approval_id=approval_id, call_id="c", tool=tool, arguments={"path": "/x"}, risk="", expires_at=timestamp(),
            user=self.message.actor.user, session=self.message.session, message_id=self.message.message_id,
            seq=self.agent.number()))  # fmt: skip


class PlayedAgent:
    """The acceptor, the answers after a restart, and the desk of approvals."""

    def __init__(self) -> None:
        self.bus = MemoryBus()
        self.bus.accept_with(self.accept)
        self.turns: list[Turn] = []
        self.context: list[InboundMessage] = []
        self.decisions: list[tuple[str, str, str]] = []
        self._keys: dict[tuple[str, str], Accepted] = {}
        self._numbers = itertools.count(1)

    def number(self) -> int:
        return next(self._numbers)

    async def accept(self, message: InboundMessage) -> Accepted:
        key = (message.actor.user, message.idempotency_key or message.message_id)
        if key in self._keys:
            first = self._keys[key]
            return Accepted(message_id=first.message_id, session=first.session, seq=first.seq, repeated=True)
        accepted = Accepted(message_id=message.message_id, session=message.session, seq=self.number())
        self._keys[key] = accepted
        if message.wants_reply:
            self.turns.append(Turn(self, message))
        else:
            self.context.append(message)
        return accepted

    async def outcome(self, session: SessionKey, message_id: str) -> Outcome:
        for turn in self.turns:
            if turn.message.message_id == message_id:
                return Outcome(state=turn.state, text=turn.text)
        return Outcome(state="unknown")

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool:
        self.decisions.append((approval_id, decision, actor.user))
        turn = self.turns[0]
        self.bus.publish(ApprovalResolved(approval_id=approval_id, decision=decision, by=actor.user, user=actor.user,
                                          session=turn.message.session, message_id=turn.message.message_id,
                                          seq=self.number()))  # fmt: skip
        return True

    async def turn(self, index: int = 0, seconds: float = 8.0) -> Turn:
        """The turn with this number, once it was accepted."""
        async with asyncio.timeout(seconds):
            while len(self.turns) <= index:
                await asyncio.sleep(0.01)
        return self.turns[index]


@asynccontextmanager
async def house(agent: PlayedAgent, settings: dict[str, Any], folder: Path) -> AsyncIterator[ChannelManager]:
    """The channels of `settings`, running over `agent` until the block ends, as suddenly as a crash."""
    manager = ChannelManager(
        ChannelsSettings.model_validate(settings), folder=folder, bus=agent.bus, gatekeeper=OpenDoor(),
        media=Drawer(), desk=agent, answers=agent,
    )  # fmt: skip
    for host in manager.hosts():
        host.retry_seconds = (0.1, 0.3)
        host.auth_seconds = (0.1, 0.3)
    task = asyncio.create_task(manager.run())
    try:
        async with asyncio.timeout(10):
            while any(host.state.state != "ready" for host in manager.hosts()):
                await asyncio.sleep(0.01)
        yield manager
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

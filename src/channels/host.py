"""One channel in the house: brings its sessions' events to its chats, which outlive the channel's failures.

`supervision.py` keeps the channel alive; the chats (`lane.py`) go on when it is back.
A turn whose end was not heard before a restart is asked for. Above is `manager.py`.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from bus.events import (
    TERMINAL,
    Actor,
    ApprovalRequested,
    ApprovalResolved,
    ChatMessage,
    SessionEvent,
    SessionUpdated,
)
from bus.keys import KeyParts, SessionKey, take_apart
from channels import narrator
from channels.base import Address, BaseChannel, ChannelState, address_of
from channels.bucket import Bucket
from channels.delivery import ChatDelivery
from channels.echoes import Echoes
from channels.inbound import InboundPipeline
from channels.items import Item, StreamMode, Turn
from channels.lane import Lane
from channels.ledger import Ledger, OpenApproval, OpenTurn
from channels.narrator import OpenQuestion
from channels.outbox import Outbox
from channels.ports import Answers, ApprovalDesk, MediaStore
from channels.questions import Answered, Questions
from channels.settings import ChannelSettings
from channels.supervision import Supervisor
from channels.taking_up import fate_of
from channels.tasks import Tasks

LANES_KEPT = 256
EARLY_EVENTS = 20_000
"""What is kept of events that come before the channel was first made."""

MakeChannel = Callable[[InboundPipeline], BaseChannel]


class ChannelHost:
    """A channel's supervisor and its chats. `load` imports the platform's SDK, `make` gives a channel."""

    def __init__(
        self,
        name: str,
        settings: ChannelSettings,
        make: MakeChannel,
        *,
        load: Callable[[], object],
        pipeline: Callable[["ChannelHost"], InboundPipeline],
        outbox: Outbox,
        ledger: Ledger,
        media: MediaStore,
        desk: ApprovalDesk,
        answers: Answers | None,
    ) -> None:
        self.name = name
        self.settings = settings
        self._outbox = outbox
        self._ledger = ledger
        self._media = media
        self._answers = answers
        self._tasks = Tasks(f"channel {name}")
        self.questions = Questions(desk=desk, ledger=ledger, outbox=outbox, lane=self._lane, spawn=self._tasks.spawn)
        self._echoes = Echoes(name, ledger=ledger, spawn=self._tasks.spawn)
        inbound = pipeline(self)
        self.supervisor = Supervisor(
            name, load=load, make=lambda: make(inbound), prepare=self._prepare, ready=self._kick
        )
        self._restored = False
        self._asked_before: frozenset[str] = frozenset()
        self._early: deque[tuple[SessionEvent, KeyParts]] = deque(maxlen=EARLY_EVENTS)
        self._lanes: dict[str, Lane] = {}
        self._expected: dict[str, Turn] = {}
        self._ended: deque[str] = deque(maxlen=4096)
        self._total: Bucket | None = None

    async def run(self) -> None:
        """Serve until cancelled; may be run again."""
        self._tasks.open()
        try:
            await self.supervisor.run()
        finally:
            await self._tasks.close()

    @property
    def state(self) -> ChannelState:
        """How the channel is."""
        return self.supervisor.state

    @property
    def channel(self) -> BaseChannel | None:
        """The channel while it is open."""
        return self.supervisor.channel

    @property
    def queued(self) -> int:
        """How many messages wait to go out."""
        return sum(lane.chat.queued for lane in self._lanes.values())

    @property
    def busy(self) -> bool:
        """Whether something that could go out now is still here."""
        return self.channel is not None and any(lane.busy for lane in self._lanes.values())

    # ------------------------------------------------------------ chats

    def _kick(self) -> None:
        for lane in self._lanes.values():
            lane.chat.kick()
            lane.wake()

    def _lane(self, to: Address) -> Lane | None:
        channel = self.supervisor.made
        if channel is None:
            return None
        self._total = self._total or Bucket(channel.capabilities.total_rate, time.monotonic())
        key = channel.bucket(to)
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= LANES_KEPT:
                self._lanes = {k: v for k, v in self._lanes.items() if not v.idle}
            chat = ChatDelivery(channel.capabilities, channel.take, group=to.kind == "group", now=time.monotonic())
            lane = self._lanes[key] = Lane(
                self.name, key, chat, link=lambda: self.channel, outbox=self._outbox, ledger=self._ledger,
                read_media=self._media.read, total=self._total, spawn=self._tasks.spawn,
            )  # fmt: skip
        return lane

    def notice(self, to: Address, markdown: str, *, reply_to: str | None = None) -> None:
        """Say something that is nobody's answer."""
        if (lane := self._lane(to)) is not None:
            lane.chat.notice(to, markdown, reply_to=reply_to)
            lane.wake()

    def expect(self, turn: Turn) -> None:
        """A message is being submitted: events of this turn may come at any moment."""
        self._expected[turn.message_id] = turn
        self._echoes.speaks(turn.session, turn.language)

    def forget(self, message_id: str) -> None:
        """It was not accepted after all, or is a repetition."""
        self._expected.pop(message_id, None)

    def accepted(self, message_id: str) -> None:
        """It is durable: typing begins."""
        turn = self._expected.pop(message_id, None)
        if turn is not None and message_id not in self._ended and (lane := self._lane(turn.address)) is not None:
            lane.chat.begin(turn, self.mode_of(turn.address))
            lane.wake()

    def waits(self, message_id: str, to: Address) -> bool:
        """Whether its turn has not ended yet."""
        turn = None if (lane := self._lane(to)) is None else lane.chat.turns.get(message_id)
        return message_id in self._expected or (turn is not None and not turn.ended)

    async def answered(self, text: str, to: Address, requester: str, actor: Actor) -> Answered | None:
        """Whether the text answers a question that was asked there."""
        return await self.questions.said(text, to, requester, actor)

    def mode_of(self, to: Address) -> StreamMode:
        """How a turn streams in this chat."""
        wish, can = self.settings.streaming, self.supervisor.made.capabilities if self.supervisor.made else None
        if can is None or wish == "off" or not (can.edits or can.drafts):
            return "off"
        if can.drafts and to.kind == "direct" and wish in ("auto", "draft"):
            return "draft"
        return "edit" if can.edits else "off"

    # ------------------------------------------------------------ events

    def take(self, event: SessionEvent, parts: KeyParts) -> None:
        """An event of one of this channel's sessions. Never waits."""
        if isinstance(event, SessionUpdated) or event.session is None:
            return
        to = address_of(parts)
        if not self._restored or (lane := self._lane(to)) is None:
            self._early.append((event, parts))
            return
        if isinstance(event, ApprovalResolved):
            self.questions.decided(lane, event)
            return
        if isinstance(event, ChatMessage):
            self._echoes.show(lane, event, to)
            return
        turn = self._turn(lane, event.session, event.message_id, to)
        if turn is None:
            return
        if isinstance(event, ApprovalRequested) and event.approval_id in self._asked_before:
            return  # the call that went on asks what it had asked: its buttons are there
        kept = narrator.tell(lane.chat, turn, event, time.monotonic())
        if isinstance(kept, OpenQuestion):
            self.questions.opened(kept)
            kept = kept.kept
        if isinstance(kept, OpenApproval):
            lane.asked.append(replace(kept, channel=self.name))
        elif kept is not None:
            lane.finals.append((event.message_id, kept))
        if isinstance(event, TERMINAL):
            self._ended.append(event.message_id)
            self.questions.over(event.message_id)
        lane.wake()

    def _turn(self, lane: Lane, session: SessionKey, message_id: str, to: Address) -> Turn | None:
        turn = lane.chat.turns.get(message_id)
        if turn is not None:
            return turn
        if message_id in self._ended:
            return None
        turn = self._expected.get(message_id)
        if turn is None:
            turn = Turn(message_id=message_id, session=session.text, address=to)
            self._tasks.spawn(self._introduce(lane, turn))
        lane.chat.begin(turn, self.mode_of(to))
        return turn

    async def _introduce(self, lane: Lane, turn: Turn) -> None:
        """A turn that didn't begin here: it belongs to who spoke last in this chat."""
        person = await self._ledger.person(turn.session)
        if person is not None:
            turn.requester, turn.user, turn.language = person
        if turn.message_id in lane.chat.turns:
            await self._ledger.open_turn(self.name, turn)

    def question_closed(self, approval_id: str, session: SessionKey, parts: KeyParts) -> None:
        """A tap on a question that nobody asks any more: its buttons go."""
        if (lane := self._lane(address_of(parts))) is not None:
            event = ApprovalResolved(approval_id=approval_id, decision="closed", by="", user="", session=session)
            self.questions.decided(lane, event)

    # ------------------------------------------------------------ after a restart

    async def _prepare(self, channel: BaseChannel) -> None:
        """Before the channel first starts: take up what was before the restart."""
        if self._restored:
            return
        now = time.monotonic()
        opened = await self._ledger.open_turns(self.name)
        for found in opened:
            if (lane := self._lane(found.turn.address)) is not None:
                lane.chat.begin(found.turn, self.mode_of(found.turn.address))
        asked = await self._outbox.questions(self.name)
        in_doubt = set()  # of those nobody knows whether somebody sees them: the call that goes on asks them again
        for item in await self._outbox.load(self.name):
            if (lane := self._lane(item.address)) is not None:
                lane.chat.restore(item, now)
                in_doubt |= {item.reference} if item.state == "unknown" else set()
                if item.kind == "question":
                    self.questions.over_since_the_restart(lane, item)
        self._asked_before = asked - in_doubt
        self._restored = True
        early, self._early = list(self._early), deque(maxlen=EARLY_EVENTS)
        for event, parts in early:
            self.take(event, parts)
        for found in opened:
            self._tasks.spawn(self._take_up(found))

    async def _take_up(self, found: OpenTurn) -> None:
        """Finish a turn that ended unheard; leave one that goes on; say so where it is lost."""
        turn = found.turn
        fate = await fate_of(found, self._answers)
        if fate.state == "unknown":
            await self._drop(turn)
            return
        lane = self._lane(turn.address)
        if fate.state == "ended" and lane is not None and turn.message_id in lane.chat.turns and not turn.ended:
            self._ended.append(turn.message_id)
            lane.chat.finish(turn.message_id, fate.text)
            lane.finals.append((turn.message_id, fate.text))
            lane.wake()

    async def _drop(self, turn: Turn) -> None:
        """It was never durable: the platform will bring the message again."""
        if (lane := self._lane(turn.address)) is not None:
            lane.chat.turns.pop(turn.message_id, None)
        await self._ledger.close_turn(turn.message_id)

    async def resend(self, item: Item) -> bool:
        """Once more, as a new message. False while the channel can't be made."""
        lane = self._lane(item.address)
        if lane is None:
            return False
        lane.chat.resend(item)
        lane.wake()
        return True


@lru_cache(maxsize=8192)
def parts_of(session: SessionKey, platforms: frozenset[str]) -> KeyParts:
    """The parts of a session's key, kept, since every delta asks."""
    return take_apart(session.text, platforms)

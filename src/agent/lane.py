"""One session while it has work: its numbers, its queue, and the order of its events.

A lane is the only writer of its session. It hands out `seq`, appends records, and
publishes events in the order of their numbers: an event that stands for a record
is held, with all that follow it, until the record is on the disk. Deltas in between
go straight through. Above it is `loop.py`; it never waits for anything itself.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from agent.ports.sessions import Record, SessionHead, SessionState, SessionStore
from agent.resume import TurnProgress
from agent.sessions import records as kinds
from agent.window import Window
from bus.context import timestamp
from bus.errors import GatewayError
from bus.events import Event, InboundMessage, JsonObject
from bus.keys import SessionKey

log = logging.getLogger("agent.lane")

BLOCK = 1000
"""Numbers reserved at once for events that are not stored."""


@dataclass(slots=True)
class Pending:
    """A message that waits for its turn. `accepted` ends when the message is durable, or fails."""

    message: InboundMessage
    seq: int
    """The number of its record."""
    accepted: "asyncio.Future[None]"
    progress: TurnProgress = field(default_factory=TurnProgress)
    refused: bool = False
    """The disk refused the message: its turn leaves no trace."""
    merged: "list[Pending]" = field(default_factory=list)
    """Messages that this one's turn answers too; each ends with it."""

    @property
    def kept(self) -> bool:
        """Whether the disk has not refused it."""
        return not (self.refused or (self.accepted.done() and (self.accepted.cancelled() or self.accepted.exception())))


class Held:
    """An event's place in the line: everything behind it waits until it is released."""

    __slots__ = ("event", "ready")

    def __init__(self, event: Event | None, ready: bool) -> None:
        self.event = event
        self.ready = ready


class Lane:
    """The one writer of `key`."""

    __slots__ = (
        "_held", "_publish", "_quiet", "_store", "_uncovered", "abort_reason", "begun", "current", "ending", "exists",
        "head", "joined", "key", "queue", "reserved", "seq", "speaker", "spoiled", "standing", "task", "users",
        "window",
    )  # fmt: skip

    def __init__(
        self, key: SessionKey, state: SessionState | None, window: Window, store: SessionStore,
        publish: Callable[[Event], None], quiet: "Callable[[Lane], None]",
    ) -> None:  # fmt: skip
        self.key = key
        self._understand(state)
        self.seq = 0 if state is None else state.last_seq
        self.reserved = self.seq
        self.window = window
        self.queue: deque[Pending] = deque()
        self.current: str | None = None
        """message_id of the running turn."""
        self.joined: set[str] = set()
        """The messages that the running turn answers beside its own."""
        self.ending = False
        """The running turn's end is on its way to the disk: it can't be cut any more."""
        self.speaker = ""
        """The user whose turn runs."""
        self.task: asyncio.Task[None] | None = None
        self.begun = False
        """The running turn's task has taken its first step; a task that is cancelled before never runs at all."""
        self.abort_reason = ""
        self.standing = False
        """The running turn stands still until a person has answered."""
        self.spoiled = False
        """The disk refused something that the window holds: it must be read again."""
        self.users = 0
        """Who holds this lane at the moment; at 0, without work, it is let go."""
        self._store = store
        self._publish = publish
        self._quiet = quiet
        self._held: deque[Held] = deque()
        self._uncovered: list[Held] = []
        """Places of reservations that the disk refused; they wait for the next record."""

    def _understand(self, state: SessionState | None) -> None:
        self.exists = state is not None and not state.head.deleted
        self.head = state.head if state is not None else None

    def _recall(self) -> None:
        """What the refused record would have made of the session is not so, what came after it may be."""
        try:
            self._understand(self._store.state_now(self.key))
        except GatewayError as error:
            log.warning("what is known of a session could not be read again: %s", error.message)

    # ------------------------------------------------------------ numbers and records

    def take(self) -> int:
        """The next number."""
        self.seq += 1
        return self.seq

    def take_unstored(self) -> int:
        """The next number, for an event that no record stands behind."""
        self.seq += 1
        if self.seq > self.reserved:
            self.reserved = self.seq + BLOCK
            self.reserving(self.append(Record(self.seq, kinds.SEQ_RESERVED, timestamp(), {"reserved": self.reserved})))
        return self.seq

    def reserving(self, durable: "asyncio.Future[None]") -> None:
        """Numbers were reserved by a record. What is said with one is told once this record is on the disk or a later
        one, so that no restart gives it again; where the disk refuses it, they are reserved again with the next one.
        """
        held = self.hold(None)
        durable.add_done_callback(lambda done: self._covered([held], done))

    def _covered(self, held: list[Held], done: "asyncio.Future[None]") -> None:
        if not done.cancelled() and not done.exception():
            for each in held:
                self.release(each)
            return
        self.reserved = 0
        self._uncovered += held
        if self.current is None:
            self.forget_uncovered()

    def forget_uncovered(self) -> None:
        """What was said with numbers that the disk does not know is told to nobody: nothing comes that covers them."""
        if not self._uncovered:
            return
        waiting, self._uncovered = self._uncovered, []
        for each in tuple(self._held)[min(map(self._held.index, waiting)) :]:
            if each.ready:
                each.event = None
        for each in waiting:
            self.release(each)

    def append(
        self, *records: Record, head: SessionHead | None = None, under: SessionHead | None = None
    ) -> "asyncio.Future[None]":
        """Write in order, as one. The result is done when they are durable, and has failed where they can't be.

        `head` begins the session; `under` does where the record that was to begin it has just been refused.
        """
        if head is not None:
            self.head = head
            self.exists = True
        for record in records:
            self.window.apply(record)
            if record.type in kinds.ENDS_TURN and self.current and not self.answering(record.data["message_id"]):
                # For the log no number is reserved now: the turn that goes on reserves again.
                self.reserved = record.seq
        try:
            durable = self._store.append(self.key, records, head=head or under)
        except GatewayError as error:
            durable = asyncio.get_running_loop().create_future()
            durable.set_exception(error)
        durable.add_done_callback(self._kept_or_not)
        if self._uncovered:
            waiting, self._uncovered = self._uncovered, []
            durable.add_done_callback(lambda done: self._covered(waiting, done))
        return durable

    def _kept_or_not(self, durable: "asyncio.Future[None]") -> None:
        """Whoever needs the outcome awaits it; what was refused the window has taken in all the same."""
        if durable.cancelled() or durable.exception() is not None:
            self.spoiled = True
            self._recall()

    # ------------------------------------------------------------ events

    def emit(self, event: Event) -> None:
        """Publish now, or in its turn behind what is held."""
        if self._held:
            self._held.append(Held(event, True))
        else:
            self._publish(event)

    def hold(self, event: Event | None) -> Held:
        """Take a place in the line for an event that may not go out yet."""
        held = Held(event, False)
        self._held.append(held)
        return held

    def release(self, held: Held, *, keep: bool = True) -> None:
        """Let it go, and what waited behind it; without `keep` it is dropped."""
        if not keep:
            held.event = None
        held.ready = True
        line = self._held
        while line and line[0].ready:
            event = line.popleft().event
            if event is not None:
                self._publish(event)
        if not line:
            self._quiet(self)

    def drop(self, message_id: str) -> None:
        """Nothing that waits about this message is ever told."""
        for held in self._held:
            if held.event is not None and getattr(held.event, "message_id", "") == message_id:
                held.event = None

    def emit_when(self, durable: "asyncio.Future[None]", event: Event) -> None:
        """Publish `event` once its record is durable; never if the disk refused it."""
        held = self.hold(event)
        durable.add_done_callback(lambda done: self.release(held, keep=not done.cancelled() and not done.exception()))

    def absorb(self, pending: Pending) -> bool:
        """Let the turn of `pending` answer what its own speaker has queued, too; False where nothing was."""
        speaker = pending.message.actor.user
        mine = [item for item in self.queue if item.message.actor.user == speaker and not item.message.options]
        for item in mine:
            self.queue.remove(item)
            pending.merged.append(item)
            self.window.join(item.message.message_id, pending.message.message_id)
            self.joined.add(item.message.message_id)
        return bool(mine)

    def answering(self, message_id: str) -> bool:
        """Whether the running turn is this message's: its own one, or the one that it was merged into."""
        return message_id == self.current or message_id in self.joined

    @property
    def settings(self) -> JsonObject:
        """What the session was told to be like (`mode`, ...)."""
        return {} if self.head is None else self.head.settings

    @property
    def listed(self) -> bool:
        """Whether the session is one that its owner sees (an ephemeral one is not)."""
        return self.head is None or self.head.listed

    @property
    def idle(self) -> bool:
        """Nothing queued, nothing running, nothing held."""
        return not self.queue and self.current is None and not self._held and not self.users and self.task is None


def record(seq: int, kind: str, data: JsonObject) -> Record:
    """A record of now."""
    return Record(seq, kind, timestamp(), data)

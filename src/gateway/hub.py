"""Who listens to which session. Implements `channels.ports.ClientSink`.

Events come in by `deliver`, attached to the bus; readers are sockets and event streams. Nothing here
waits: a reader that is too slow is its own outbox's matter. It also keeps the rings for those who
come back, and wakes whoever waits for the end of a turn. Who may read what was decided before
(`handlers/access.py`); the hub never asks again.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable

from bus.events import (
    TERMINAL,
    Accepted,
    ChatDelta,
    ChatDone,
    ChatError,
    ChatMessage,
    Event,
    SessionEvent,
    SessionUpdated,
)
from bus.keys import SessionKey
from gateway.packets import Packet
from gateway.reading import Reader, Reading, Topic, number_of
from gateway.ring import Ring

KEEP_SECONDS = 300.0
KEEP_BYTES = 32 * 1024 * 1024
SWEEP_SECONDS = 30.0


class Hub:
    """The hub. `now` is monotonic seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic, *, keep_bytes: int = KEEP_BYTES) -> None:
        self._now = now
        self._keep_bytes = keep_bytes
        self._topics: OrderedDict[SessionKey, Topic] = OrderedDict()
        self._last_key: SessionKey | None = None
        self._last_topic = Topic()
        self._bytes = 0
        self._users: dict[str, set[Reader]] = {}
        self._keys: dict[Reader, set[SessionKey]] = {}
        self._waiting: dict[str, list[asyncio.Future[ChatDone | ChatError]]] = {}

    # ------------------------------------------------------------ events in

    def deliver(self, event: Event) -> None:
        """Give `event` to everyone who reads its session, or to the user's connections."""
        if type(event) is not ChatDelta:
            self._deliver_rare(event)
            return
        session = event.session
        if session is self._last_key:  # neighbours of one burst: no hashing
            topic = self._last_topic
        else:
            topic = self._topic(session)
            self._last_key, self._last_topic = session, topic
        self._bytes += topic.ring.add_delta(event)
        if topic.readings:
            packet = Packet(event)
            for reading in topic.readings:
                if reading.holds:
                    reading.held.append(packet)
                else:
                    reading.reader.push(packet)

    def _topic(self, session: SessionKey) -> Topic:
        topic = self._topics.get(session)
        if topic is None:
            topic = self._topics[session] = Topic()
            topic.touched = self._now()
        return topic

    def _deliver_rare(self, event: Event) -> None:
        """Everything but a delta: rare enough for book-keeping."""
        session: SessionKey | None = getattr(event, "session", None)
        if session is None:
            self._to_user(event)
            return
        topic = self._topic(session)
        seq = event.seq  # type: ignore[union-attr]  # it has a session, so it has a number
        if type(event) is SessionUpdated and event.deleted:  # what was deleted is not told again
            self._bytes -= topic.ring.size
            topic.ring = Ring()
        if seq is not None:
            self._bytes += topic.ring.add(event, seq)  # type: ignore[arg-type]  # of a session, as above
        topic.touched = self._now()
        self._topics.move_to_end(session)
        packet = Packet(event)
        origin = event.origin if type(event) is ChatMessage else ""
        for reading in topic.readings:
            if not origin or reading.reader.origin != origin:
                reading.push(packet)
        if isinstance(event, TERMINAL):
            self._turn_ended(event, topic)
        if self._bytes > self._keep_bytes:
            self._make_room()

    def _turn_ended(self, event: ChatDone | ChatError, topic: Topic) -> None:
        for reading in topic.readings:
            if event.message_id in reading.turns:
                reading.turns.remove(event.message_id)
                reading.keep = event.seq or 0 if reading.holds else 0  # this end is among what is held
            if not reading.wanted:
                self._forget(reading)
        topic.readings = tuple(reading for reading in topic.readings if reading.wanted)
        for future in self._waiting.pop(event.message_id, ()):
            if not future.done():
                future.set_result(event)

    def _to_user(self, event: Event) -> None:
        packet = Packet(event)
        for reader in tuple(self._users.get(getattr(event, "user", ""), ())):
            reader.push(packet)

    def _make_room(self) -> None:
        for key, topic in list(self._topics.items()):
            if self._bytes <= self._keep_bytes:
                return
            self._drop(key, topic)

    def _drop(self, key: SessionKey, topic: Topic) -> None:
        self._last_key = None
        self._bytes -= topic.ring.size
        if topic.readings:
            last = topic.ring.last_seq
            topic.ring = Ring()
            topic.ring.last_seq = last
        else:
            del self._topics[key]

    def sweep(self) -> None:
        """Forget the rings that nobody touched for five minutes."""
        now = self._now()
        for key, topic in list(self._topics.items()):
            if topic.ring.last_seq != topic.swept:
                topic.swept = topic.ring.last_seq
                topic.touched = now
            elif topic.touched > now - KEEP_SECONDS:
                continue
            elif topic.ring.size or not topic.readings:
                self._drop(key, topic)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            self.sweep()

    # ------------------------------------------------------------ users' connections

    def join(self, reader: Reader, user: str) -> None:
        """Give `reader` the events of `user` that belong to no session."""
        self._users.setdefault(user, set()).add(reader)

    def leave(self, reader: Reader, user: str) -> None:
        """Take `reader` out of everything."""
        for key in self._keys.pop(reader, ()):
            topic = self._topics.get(key)
            if topic is not None:
                topic.readings = tuple(r for r in topic.readings if r.reader is not reader)
        readers = self._users.get(user)
        if readers is not None:
            readers.discard(reader)
            if not readers:
                del self._users[user]

    # ------------------------------------------------------------ sessions

    def last_seq(self, key: SessionKey) -> int | None:
        """The number of the last event seen of a session; None where the hub saw none."""
        topic = self._topics.get(key)
        return topic.ring.last_seq if topic is not None and topic.ring.last_seq else None

    def read(self, reader: Reader, key: SessionKey, known_last: int, after_seq: int | None) -> tuple[Reading, int, int]:
        """Let `reader` read `key` from now on, or from `after_seq`: the reading, `last_seq`, how many are replayed.

        The replayed events are held until `release`, so that the reply comes first. `known_last` is the
        log's last number, for a session that the hub has not seen. Raises EventsGone (1010).
        """
        topic = self._topics.get(key)
        ring = topic.ring if topic is not None else Ring()
        if not ring.last_seq:
            ring.last_seq = known_last
        again = [] if after_seq is None else ring.after(after_seq, key)
        reading = self.hold(reader, key)
        topic = self._topics[key]
        topic.ring.last_seq = max(topic.ring.last_seq, ring.last_seq)
        reading.explicit = True
        packets = [Packet(e) for e in again if not (type(e) is ChatMessage and e.origin == reader.origin and e.origin)]
        reading.hold_too(packets)
        return reading, ring.last_seq, len(packets)

    def hold(self, reader: Reader, key: SessionKey) -> Reading:
        """Begin to keep back what `reader` would get of `key`, until `release`. Holds nest."""
        topic = self._topic(key)
        reading = next((r for r in topic.readings if r.reader is reader), None)
        if reading is None:
            reading = Reading(reader, key)
            topic.readings = (*topic.readings, reading)
            self._keys.setdefault(reader, set()).add(key)
        reading.holds += 1
        return reading

    def release(self, reading: Reading) -> None:
        """Give what was held, in order, and go on live; stop reading where nothing asks for it."""
        reading.holds -= 1
        if reading.holds:
            return
        held, reading.held = reading.held, []
        for packet in held:
            if reading.wanted or number_of(packet) <= reading.keep:
                reading.reader.push(packet)
        reading.keep = 0
        self._tidy(reading)

    def follow(self, reading: Reading, accepted: Accepted, missed: list[SessionEvent], *, running: bool) -> None:
        """Release a reading that was held while a message was handed in: now the turn may be seen.

        Of what was held, a reader who follows only this turn gets what is newer than his message.
        `missed` are events of a repeated message that were there before he asked.
        """
        held = reading.held
        if not (reading.explicit or reading.turns or reading.keep):
            held = [p for p in held if number_of(p) > accepted.seq]
        reading.held = held
        reading.hold_too([Packet(event) for event in missed])
        ends = [number_of(p) for p in reading.held
                if isinstance(p.event, TERMINAL) and p.event.message_id == accepted.message_id]  # fmt: skip
        if running and not ends:
            reading.turns.add(accepted.message_id)
        reading.keep = max(reading.keep, *ends, 0)
        self.release(reading)

    def kept_of(self, key: SessionKey, accepted: Accepted) -> list[SessionEvent]:
        """What is still kept of a message's turn."""
        topic = self._topics.get(key)
        if topic is None:
            return []
        return [e for e in topic.ring.kept(key, accepted.seq) if e.message_id == accepted.message_id]

    def stop_reading(self, reader: Reader, key: SessionKey) -> bool:
        """`reader` wants no more of `key` than the turns he started himself; whether he had subscribed."""
        topic = self._topics.get(key)
        reading = next((r for r in topic.readings if r.reader is reader), None) if topic is not None else None
        if reading is None or not reading.explicit:
            return False
        reading.explicit = False
        self._tidy(reading)
        return True

    def expel(self, user: str, key: SessionKey) -> None:
        """The session is no longer `user`'s: his connections read it no more."""
        readings = self._topics[key].readings if key in self._topics else ()
        for reading in [each for each in readings if each.reader in self._users.get(user, ())]:
            reading.explicit, reading.turns, reading.keep = False, set(), 0
            self._tidy(reading)

    def _tidy(self, reading: Reading) -> None:
        topic = self._topics.get(reading.key)
        if topic is not None and not reading.wanted:
            topic.readings = tuple(r for r in topic.readings if r is not reading)
            self._forget(reading)

    def _forget(self, reading: Reading) -> None:
        keys = self._keys.get(reading.reader)
        if keys is not None:
            keys.discard(reading.key)
            if not keys:
                del self._keys[reading.reader]

    # ------------------------------------------------------------ ends of turns

    def expect(self, message_id: str) -> "asyncio.Future[ChatDone | ChatError]":
        """A future for the end of this message's turn. Ask before the turn can end."""
        future: asyncio.Future[ChatDone | ChatError] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(message_id, []).append(future)
        return future

    def give_up(self, message_id: str, future: "asyncio.Future[ChatDone | ChatError]") -> None:
        """Nobody waits for this future any more."""
        waiting = self._waiting.get(message_id)
        if waiting is not None and future in waiting:
            waiting.remove(future)
            if not waiting:
                del self._waiting[message_id]
        future.cancel()

    def stats(self) -> dict[str, int]:
        """For `/status` and the metrics."""
        return {
            "sessions": len(self._topics),
            "readers": sum(len(t.readings) for t in self._topics.values()),
            "replay_bytes": self._bytes,
            "waiting": len(self._waiting),
        }

"""What waits for one client: replies and events in order, bounded, deltas merged when he is slow.

Pure: the connection above says whether the socket is congested and takes bytes when it is not.
Replies are not counted against the limit, since the client asked for them and is not read from
while they pile up; events are, and above the limit the client has to be let go (4008).
"""

from collections import deque

from bus.events import ChatDelta
from bus.message_bus import joinable
from gateway.packets import Packet, encode, text_frame

LIMIT = 1_048_576
_ENVELOPE = 200


class _Merged:
    """Several neighbouring deltas, joined when they leave."""

    __slots__ = ("first", "last", "parts", "size")

    def __init__(self, first: ChatDelta) -> None:
        self.first = first
        self.last = first
        self.parts = [first.delta]
        self.size = _ENVELOPE + len(first.delta.encode("utf-8", "replace"))

    def add(self, delta: ChatDelta) -> int:
        self.last = delta
        self.parts.append(delta.delta)
        grown = len(delta.delta.encode("utf-8", "replace"))
        self.size += grown
        return grown

    @property
    def frame(self) -> bytes:
        """The frame of the one delta they are together."""
        return text_frame(encode(self.delta()))

    def delta(self) -> ChatDelta:
        """The one delta they are together."""
        if len(self.parts) == 1:
            return self.first
        start = self.first.from_seq if self.first.from_seq is not None else self.first.seq
        return ChatDelta(self.last.session, self.last.message_id, self.last.seq, "".join(self.parts), start)


class Outbox:
    """The queue. `event_bytes` and `reply_bytes` say how much waits."""

    __slots__ = ("_entries", "_limit", "event_bytes", "reply_bytes")

    def __init__(self, limit: int = LIMIT) -> None:
        self._entries: deque[Packet | _Merged | bytes] = deque()
        self._limit = limit
        self.event_bytes = 0
        self.reply_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def reply(self, frame: bytes) -> None:
        """Queue a response."""
        self._entries.append(frame)
        self.reply_bytes += len(frame)

    def event(self, packet: Packet, congested: bool = False) -> bool:
        """Queue an event; False where the client is too slow to be kept, and the event is not.

        What waits already is judged, not the event that comes: a single large one is no fault of the reader's.
        """
        if self.event_bytes > self._limit:
            self._compact()
            if self.event_bytes > self._limit:
                return False
        if congested and type(packet.event) is ChatDelta and self._merge(packet.event):
            return True
        self._entries.append(packet)
        self.event_bytes += len(packet.made or packet.make())
        return True

    def _merge(self, delta: ChatDelta) -> bool:
        last = self._entries[-1] if self._entries else None
        if type(last) is Packet and type(last.event) is ChatDelta and joinable(last.event, delta):
            merged = _Merged(last.event)
            self.event_bytes += merged.size - len(last.frame)
            self._entries[-1] = last = merged
        elif not (type(last) is _Merged and joinable(last.last, delta)):
            return False
        self.event_bytes += last.add(delta)
        return True

    def _compact(self) -> None:
        """Merge what waits, wherever neighbours are."""
        old, self._entries, self.event_bytes = self._entries, deque(), 0
        for entry in old:
            if type(entry) is Packet:
                if type(entry.event) is ChatDelta and self._merge(entry.event):
                    continue
                self.event_bytes += len(entry.frame)
            elif type(entry) is _Merged:
                self.event_bytes += entry.size
            self._entries.append(entry)

    def take(self, limit: int) -> bytes:
        """Frames from the front, about `limit` bytes of them, as they go onto the wire."""
        if self.event_bytes + self.reply_bytes <= limit:
            frames = [
                entry.made if type(entry) is Packet else entry if isinstance(entry, bytes) else entry.frame
                for entry in self._entries
            ]
            self.clear()
            return frames[0] if len(frames) == 1 else b"".join(frames)
        frames = []
        taken = 0
        while self._entries and taken < limit:
            entry = self._entries.popleft()
            if type(entry) is bytes:
                frame = entry
                self.reply_bytes -= len(frame)
            elif type(entry) is Packet:
                frame = entry.frame
                self.event_bytes -= len(frame)
            else:
                assert type(entry) is _Merged
                self.event_bytes -= entry.size
                frame = entry.frame
            frames.append(frame)
            taken += len(frame)
        return b"".join(frames)

    def take_packet(self) -> Packet | None:
        """The next event alone, for a reader that has no replies."""
        while self._entries:
            entry = self._entries.popleft()
            if type(entry) is Packet:
                self.event_bytes -= len(entry.frame)
                return entry
            if type(entry) is _Merged:
                self.event_bytes -= entry.size
                return Packet(entry.delta())
        return None

    def clear(self) -> None:
        """Forget everything: the client is let go."""
        self._entries.clear()
        self.event_bytes = self.reply_bytes = 0

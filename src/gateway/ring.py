"""What a session's readers may still ask for again: its last 300 events.

Pure and without a clock; the hub above drops rings nobody touched for five minutes and keeps all of
them together below 32 MiB. Deltas are kept as one growing text with offsets, not as objects: a turn
of 200 pieces costs about the size of its text.
"""

from array import array
from collections import deque
from collections.abc import Iterator

from bus.errors import EventsGone
from bus.events import TERMINAL, ChatDelta, SessionEvent
from bus.keys import SessionKey

WINDOW = 300
_OVERHEAD = 400
"""Bytes that an event costs beside its texts, roughly."""
_PER_DELTA = 4
_NEVER = 1 << 62


class _Run:
    """Neighbouring deltas of one turn: `first` is the number of the first."""

    __slots__ = ("ends", "first", "message_id", "next", "parts", "text")

    def __init__(self, delta: ChatDelta) -> None:
        self.message_id = delta.message_id
        self.first = delta.seq
        self.next = delta.seq + 1
        self.parts: list[str] = [delta.delta]
        self.text = ""
        self.ends = array("I")

    @property
    def count(self) -> int:
        return self.next - self.first

    def pack(self) -> None:
        """Join the parts; from here on only offsets tell them apart."""
        end = len(self.text)
        for part in self.parts:
            end += len(part)
            self.ends.append(end)
        self.text += "".join(self.parts)
        self.parts.clear()

    def piece(self, index: int) -> str:
        """The delta number `first + index`."""
        packed = len(self.ends)
        if index >= packed:
            return self.parts[index - packed]
        return self.text[self.ends[index - 1] if index else 0 : self.ends[index]]


class Ring:
    """The last events of one session, in order. `size` is a rough count of bytes."""

    __slots__ = ("_count", "_items", "_open", "_trim_at", "last_seq", "size")

    def __init__(self) -> None:
        self._items: deque[_Run | SessionEvent] = deque()
        self._open: _Run | None = None
        """The run that the next delta may join: always the last item."""
        self._count = 0
        self._trim_at = _NEVER
        """At how many events the first item can go."""
        self.last_seq = 0
        self.size = 0

    def add_delta(self, event: ChatDelta) -> int:
        """Keep a delta; by how many bytes the ring grew. The way of every piece of every answer."""
        run, seq = self._open, event.seq
        if run is None or run.next != seq or run.message_id != event.message_id or event.from_seq is not None:
            return self.add(event, seq)
        run.next = seq + 1
        run.parts.append(event.delta)
        self.last_seq = seq
        grown = len(event.delta) + _PER_DELTA
        self.size += grown
        self._count += 1
        if self._count >= self._trim_at:
            before = self.size
            self._trim()
            grown += self.size - before
        return grown

    def add(self, event: SessionEvent, seq: int) -> int:
        """Keep one event; by how many bytes the ring grew."""
        before = self.size
        self.last_seq = seq
        self._count += 1
        if type(event) is ChatDelta and event.from_seq is None:
            self._open = _Run(event)
            self._items.append(self._open)
            self.size += len(event.delta) + _PER_DELTA + _OVERHEAD
        else:
            if self._open is not None and isinstance(event, TERMINAL):
                self._open.pack()
            self._open = None
            self._items.append(event)
            self.size += _weight(event)
        self._trim()
        return self.size - before

    def _trim(self) -> None:
        """Let go of what lies before the window, whole items at a time."""
        items = self._items
        while len(items) > 1 and self._count - _count(items[0]) >= WINDOW:
            gone = items.popleft()
            self._count -= _count(gone)
            if isinstance(gone, _Run):
                self.size -= len(gone.text) + sum(map(len, gone.parts)) + _PER_DELTA * gone.count + _OVERHEAD
            else:
                self.size -= _weight(gone)
        self._trim_at = WINDOW + _count(items[0]) if len(items) > 1 else _NEVER

    def after(self, seq: int, session: SessionKey) -> list[SessionEvent]:
        """Every event with a number above `seq`. Raises EventsGone where some of them are no longer kept."""
        if seq == self.last_seq:
            return []
        if seq > self.last_seq or seq < self.last_seq - WINDOW or not self._items or _first(self._items[0]) > seq + 1:
            raise EventsGone("these events are no longer kept; read the history")
        return list(self.kept(session, seq))

    def kept(self, session: SessionKey, after: int = 0) -> Iterator[SessionEvent]:
        """Whatever is kept with a number above `after`, in order."""
        for item in self._items:
            if type(item) is _Run:
                for index in range(max(0, after + 1 - item.first), item.count):
                    yield ChatDelta(session, item.message_id, item.first + index, item.piece(index))
            elif _first(item) > after:
                yield item  # type: ignore[misc]  # mypy does not narrow by `type(x) is`


def _count(item: _Run | SessionEvent) -> int:
    return item.count if type(item) is _Run else 1


def _first(item: _Run | SessionEvent) -> int:
    # mypy does not narrow by `type(x) is`
    return item.first if type(item) is _Run else item.seq or 0  # type: ignore[union-attr]


def _weight(event: SessionEvent) -> int:
    text = getattr(event, "text", "") or getattr(event, "preview", "")
    arguments = getattr(event, "arguments", None)
    return _OVERHEAD + len(text) + (len(str(arguments)) if arguments else 0)

"""Who reads a session, and why: the hub's book-keeping.

A reading is held while its reader's message is handed in, so that the reply comes before the first
event; it ends when nothing asks for it any more. Above is `hub.py`; it knows neither sockets nor users.
"""

from typing import Protocol

from bus.keys import SessionKey
from gateway.packets import Packet
from gateway.ring import Ring


class Reader(Protocol):
    """Someone who is given events. `origin` names him, so that he is not told what he said himself."""

    origin: str

    def push(self, packet: Packet) -> None:
        """Take one event. Neither waits nor raises."""
        ...


class Reading:
    """One reader of one session: why he reads it, and what is held back for him meanwhile."""

    __slots__ = ("explicit", "held", "holds", "keep", "key", "reader", "turns")

    def __init__(self, reader: Reader, key: SessionKey) -> None:
        self.reader = reader
        self.key = key
        self.explicit = False
        self.turns: set[str] = set()
        self.holds = 0
        self.held: list[Packet] = []
        self.keep = 0
        """The number of the last end among what is held that is his: he is told up to it, whatever asks for more."""

    @property
    def wanted(self) -> bool:
        """Whether there is still a reason to read."""
        return self.explicit or bool(self.turns) or self.holds > 0

    def push(self, packet: Packet) -> None:
        if self.holds:
            self.held.append(packet)
        else:
            self.reader.push(packet)

    def hold_too(self, again: list[Packet]) -> None:
        """Hold what is told again beside what is held: each number once, all in order.

        A client that comes back asks for a session and for its turn in one breath: the same events answer both.
        """
        told = {number_of(packet) for packet in again}
        last, numbered = 0, [(number_of(packet), packet) for packet in again]
        for packet in self.held:
            seq = number_of(packet)
            last = seq or last  # what has no number stays behind what it followed
            if not seq or seq not in told:
                numbered.append((last, packet))
        self.held = [packet for _, packet in sorted(numbered, key=lambda one: one[0])]


def number_of(packet: Packet) -> int:
    """The number of a packet's event in its session; 0 where it has none."""
    return getattr(packet.event, "seq", None) or 0


class Topic:
    """A session with its ring and its readers."""

    __slots__ = ("readings", "ring", "swept", "touched")

    def __init__(self) -> None:
        self.ring = Ring()
        self.readings: tuple[Reading, ...] = ()
        self.touched = 0.0
        self.swept = 0
        """The last number at the last sweep: deltas touch nothing else."""

"""One timer of the loop for many deadlines.

Calls end long before their deadlines, mostly: a timer for each would be made and thrown away with every call. Used by
the bridge's clocks and by the gateway for calls that wait for a bridge; knows nothing of either.
"""

import asyncio
import time
from typing import Protocol

_FOREVER = float("inf")
_FINE_SECONDS = 0.0005
"""A timer of the loop may ring so much early."""


class Clock(Protocol):
    """A deadline."""

    @property
    def running(self) -> bool:
        """False while it stands still."""
        ...

    def remaining(self) -> float:
        """Seconds that are left."""
        ...

    def over(self) -> None:
        """It has passed. Called once for each `watch`."""
        ...


class Alarm:
    """Tells the clocks it was given when they are over; exactly, as it is set to the first of them."""

    __slots__ = ("_clocks", "_rings", "_timer")

    def __init__(self) -> None:
        self._clocks: set[Clock] = set()
        self._rings = _FOREVER
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, clock: Clock, end: float) -> None:
        """Tell this clock at `end` (monotonic), or look at it again then."""
        self._clocks.add(clock)
        if end < self._rings:
            self._set(end)

    def forget(self, clock: Clock) -> None:
        """Not this one any more. The timer stays: the next clocks mostly end after it."""
        self._clocks.discard(clock)

    def _set(self, end: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._rings = end
        self._timer = asyncio.get_running_loop().call_at(end, self._ring)

    def _ring(self) -> None:
        self._timer, self._rings = None, _FOREVER
        for clock in list(self._clocks):
            if clock.running and clock.remaining() <= _FINE_SECONDS and clock in self._clocks:
                self._clocks.discard(clock)
                clock.over()
        if self._clocks:
            left = min((clock.remaining() for clock in self._clocks if clock.running), default=_FOREVER)
            if left < _FOREVER:
                self._set(time.monotonic() + left)

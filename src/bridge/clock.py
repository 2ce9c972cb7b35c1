"""The deadline of one call: runs while the bridge works, stands still while a person is being asked.

Calls end long before their deadlines, mostly: an `Alarm` is one timer of the loop for all clocks, where a timer for
each would be made and thrown away with every call.
"""

import asyncio
import time
from collections.abc import Callable

_FOREVER = float("inf")
_FINE_SECONDS = 0.0005
"""A timer of the loop may ring so much early."""


class Alarm:
    """Tells the clocks it was given when they are over; exactly, as it is set to the first of them."""

    __slots__ = ("_clocks", "_rings", "_timer")

    def __init__(self) -> None:
        self._clocks: set[CallClock] = set()
        self._rings = _FOREVER
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, clock: "CallClock", end: float) -> None:
        """Tell this clock at `end` (monotonic), or look at it again then."""
        self._clocks.add(clock)
        if end < self._rings:
            self._set(end)

    def forget(self, clock: "CallClock") -> None:
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


class CallClock:
    """`seconds` of work from now, monotonic. `watch` names what happens when they are over."""

    __slots__ = ("_alarm", "_late", "_left", "_most", "_paused", "_since", "passed")

    def __init__(self, seconds: float, alarm: Alarm) -> None:
        self.passed = False
        self._alarm = alarm
        self._left = seconds
        self._most = _FOREVER
        self._since = time.monotonic()
        self._paused = 0
        self._late: Callable[[], object] | None = None

    @property
    def running(self) -> bool:
        return not self._paused

    def remaining(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._left if self._paused else self._left - (time.monotonic() - self._since)

    def watch(self, late: Callable[[], object]) -> None:
        """Call `late` once when the time is over; `passed` is true from then on."""
        self._late = late
        self._apply()

    def stop(self) -> None:
        """The call has ended."""
        self._late = None
        self._alarm.forget(self)

    def limit(self, seconds: float) -> None:
        """At most so much in all, whatever the gateway says (later, too)."""
        self._most = seconds
        self._left = min(self._left, seconds)

    def reset(self, seconds: float) -> None:
        """The gateway said anew how much is left."""
        self._left = min(seconds, self._most)
        self._since = time.monotonic()
        self._apply()

    def pause(self) -> None:
        if not self._paused:
            self._left = self.remaining()
        self._paused += 1

    def resume(self) -> None:
        self._paused -= 1
        if not self._paused:
            self._since = time.monotonic()
        self._apply()

    def over(self) -> None:
        """The alarm says so."""
        if self._late is not None:
            self.passed = True
            self._late()

    def _apply(self) -> None:
        if self._late is not None and not self._paused:
            self._alarm.watch(self, self._since + self._left)

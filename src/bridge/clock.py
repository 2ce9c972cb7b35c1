"""The deadline of one call: runs while the bridge works, stands still while a person is being asked."""

import time
from collections.abc import Callable

from bridge.servers.alarm import Alarm

_FOREVER = float("inf")


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

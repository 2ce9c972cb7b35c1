"""The deadline of one call: runs while the bridge works, stands still while a person is being asked."""

import asyncio
import time
from collections.abc import Callable


class CallClock:
    """`seconds` of work from now, monotonic. `watch` names what happens when they are over."""

    __slots__ = ("_late", "_left", "_paused", "_since", "_timer", "passed")

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._left = seconds
        self._since = time.monotonic()
        self._paused = 0
        self._late: Callable[[], object] | None = None
        self._timer: asyncio.TimerHandle | None = None

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
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def reset(self, seconds: float) -> None:
        """The gateway said anew how much is left."""
        self._left = seconds
        self._since = time.monotonic()
        self._apply()

    def pause(self) -> None:
        if not self._paused:
            self._left = self.remaining()
        self._paused += 1
        self._apply()

    def resume(self) -> None:
        self._paused -= 1
        if not self._paused:
            self._since = time.monotonic()
        self._apply()

    def _apply(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._late is not None and not self._paused:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, self.remaining()), self._pass)

    def _pass(self) -> None:
        if self._late is not None:
            self.passed = True
            self._late()

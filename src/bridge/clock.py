"""The deadline of one call: runs while the bridge works, stands still while a person is being asked."""

import asyncio
import time


class CallClock:
    """`seconds` of work from now. Monotonic. Bound to the `asyncio.timeout` of the call's task."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = time.monotonic()
        self._paused = 0
        self._timeout: asyncio.Timeout | None = None

    def remaining(self) -> float:
        """Seconds left; negative when it has passed."""
        return self._left if self._paused else self._left - (time.monotonic() - self._since)

    def bind(self, timeout: asyncio.Timeout) -> None:
        """Let `timeout` end when this clock does."""
        self._timeout = timeout
        self._apply()

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
        timeout = self._timeout
        if timeout is None or timeout.expired():
            return
        when = None if self._paused else asyncio.get_running_loop().time() + self.remaining()
        try:
            timeout.reschedule(when)
        except RuntimeError:
            self._timeout = None  # the call has ended

"""A deadline that can stand still while a person is being asked."""

import time


class Deadline:
    """`seconds` of working time from now; paused while somebody is asked. Monotonic, never the wall clock."""

    __slots__ = ("_left", "_paused", "_since")

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._since = time.monotonic()
        self._paused = 0

    def remaining(self) -> float:
        """Seconds of working time left; negative when it has passed."""
        if self._paused:
            return self._left
        return self._left - (time.monotonic() - self._since)

    @property
    def paused(self) -> bool:
        """Whether the clock stands still."""
        return self._paused > 0

    def pause(self) -> None:
        """Stop the clock; calls nest."""
        if not self._paused:
            self._left = self.remaining()
        self._paused += 1

    def resume(self) -> None:
        """Let it run again, when every `pause` has been answered."""
        if self._paused:
            self._paused -= 1
            if not self._paused:
                self._since = time.monotonic()

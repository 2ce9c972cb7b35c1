"""How many frames a bridge may send that nobody asked for: a token bucket that says when it is enough."""

from typing import Literal, TypeAlias

Taken: TypeAlias = Literal["ok", "first", "drop", "enough"]


class Quota:
    """`per_second` frames on average, `burst` at once; `burst / 2` frames more and it is enough."""

    __slots__ = ("_burst", "_dropped", "_per_second", "_refilled", "_tokens")

    def __init__(self, per_second: float, burst: float, now: float) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = burst
        self._refilled = now
        self._dropped = 0

    def take(self, now: float, cost: float) -> Taken:
        """`ok`: read it. `first`: too much, tell once. `drop`: leave it unread. `enough`: close."""
        self._tokens = min(self._burst, self._tokens + (now - self._refilled) * self._per_second)
        self._refilled = now
        if self._tokens >= cost:
            self._tokens -= cost
            return "ok"
        self._dropped += 1
        if self._dropped == 1:
            return "first"
        return "enough" if self._dropped > self._burst / 2 else "drop"

"""How many frames a bridge may send that nobody asked for: a token bucket that says when it is enough."""

from typing import Literal, TypeAlias

from bridge.protocol.frames import Frame

_SIZE_OF_ONE = 16 * 1024
"""A frame counts once for each of so many characters."""
_TOOLS_OF_ONE = 50
"""And a catalogue for so many tools: they may be short, and each takes its work."""

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


def cost_of(frame: Frame) -> int:
    """What a frame counts that nobody asked for."""
    tools = frame.payload.get("tools") if frame.type == "TOOLS" else None
    return 1 + frame.size // _SIZE_OF_ONE + (len(tools) // _TOOLS_OF_ONE if type(tools) is list else 0)

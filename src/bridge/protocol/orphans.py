"""Calls that a bridge lists and this gateway process never sent: an earlier process did.

Their turns may still come for them after the restart, so they are neither forgotten nor cancelled at once.
"""

from typing import Literal, TypeAlias

ORPHAN_SECONDS = 60.0
_MOST = 20_000
State: TypeAlias = Literal["running", "done"]


class Orphans:
    """By id. `now` is monotonic seconds."""

    __slots__ = ("_since",)

    def __init__(self) -> None:
        self._since: dict[str, tuple[State, float]] = {}

    def __contains__(self, call_id: str) -> bool:
        return call_id in self._since

    def found(self, call_id: str, state: str, now: float) -> None:
        """The bridge listed it. Beyond 20,000 it is one that nobody will come for."""
        if len(self._since) < _MOST:
            self._since[call_id] = ("done" if state == "done" else "running", now)

    def done(self, call_id: str) -> None:
        """Its answer came, and waits at the bridge."""
        self._since[call_id] = ("done", self._since[call_id][1])

    def claim(self, call_id: str) -> bool:
        """A turn came for it."""
        return self._since.pop(call_id, None) is not None

    def late(self, now: float) -> list[tuple[str, State]]:
        """Those that nobody will come for any more."""
        late = [(key, state) for key, (state, since) in self._since.items() if now - since >= ORPHAN_SECONDS]
        for call_id, _ in late:
            del self._since[call_id]
        return late

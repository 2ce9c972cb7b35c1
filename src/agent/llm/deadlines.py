"""When to give a silent, stalled or endless model up. Pure: it is told the time.

Above it `openai_client.py`, which has one timer for it instead of one for each read.
"""

from dataclasses import dataclass, field

SETTLE_SECONDS = 2.0
"""How long usage and the end marker may take after the reason for the end is known."""


@dataclass(slots=True)
class Deadlines:
    """All in seconds, on a monotonic clock. `first` until something of the answer came, `stall` between two such."""

    first: float
    stall: float
    total: float
    started: float
    _events: int = field(default=0, init=False)
    _since: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self._since = self.started

    def check(self, now: float, events: int, ended: bool) -> float | str:
        """When to look again, or the kind of the failure: `silent` or `timeout`; `ended`: the answer is whole.

        `events` counts what came of the answer; comments and empty events do not.
        """
        if events != self._events:
            self._events = events
            self._since = now
        if ended:
            due = self._since + min(SETTLE_SECONDS, self.stall)
            return "ended" if now >= due else due
        end = self.started + self.total
        due = self._since + (self.stall if events else self.first)
        if now >= min(due, end):
            return "timeout" if events or now >= end else "silent"
        # Events that come before `due` are only seen at the next look: look twice in an interval.
        return min(due, end, now + max((due - now) / 2, 0.01))

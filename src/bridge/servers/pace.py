"""When a server that ended is started again, and when it is given up. Pure but for chance."""

import random

FIRST_DELAY = 0.1
LONGEST_DELAY = 30.0
HEALTHY_SECONDS = 60.0
QUICK_SECONDS = 10.0
QUICK_DEATHS = 5
GIVEN_UP_DELAY = 300.0
UNREACHABLE_DELAY = 30.0
"""The same for a server behind a URL: asking whether it is back costs next to nothing."""


class Pace:
    """The delays of one server: 0.1 s doubling to 30 s with jitter, forgotten after a minute of health.

    A server that dies five times in a row within ten seconds of its start, without having answered a call, is given
    up; it is tried once more every five minutes, because a laptop's network or a registry may have come back.
    """

    def __init__(self, *, given_up_delay: float = GIVEN_UP_DELAY) -> None:
        self._delay = FIRST_DELAY
        self._quick = 0
        self._given_up_delay = given_up_delay

    def ended(self, lived: float, *, useful: bool = False, hopeless: bool = False) -> tuple[float, bool]:
        """Seconds until the next start, and whether the server counts as given up until then."""
        if lived >= HEALTHY_SECONDS:
            self.reset()
        self._quick = self._quick + 1 if lived < QUICK_SECONDS and not useful else 0
        delay, self._delay = self._delay, min(LONGEST_DELAY, self._delay * 2)
        if hopeless or self._quick >= QUICK_DEATHS:
            return self._given_up_delay * random.uniform(0.8, 1.2), True
        return delay * random.uniform(0.5, 1.0), False

    def reset(self) -> None:
        """A person asked for another start."""
        self._delay, self._quick = FIRST_DELAY, 0

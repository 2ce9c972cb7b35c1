"""A token bucket, pure: `now` comes in, seconds to wait come out."""

from channels.base import Rate


class Bucket:
    """`rate.burst` calls at once, refilled at `rate.per_second`. A clock that jumps back refills nothing."""

    def __init__(self, rate: Rate, now: float) -> None:
        self._rate = rate
        self._tokens = rate.burst
        self._at = now

    def _refill(self, now: float) -> None:
        if now > self._at:
            self._tokens = min(self._rate.burst, self._tokens + (now - self._at) * self._rate.per_second)
        self._at = now

    def wait(self, now: float, cost: float = 1.0, reserve: float = 0.0) -> float:
        """Seconds until `cost` may be taken with `reserve` left over; 0 if now."""
        self._refill(now)
        need = min(cost + reserve, self._rate.burst)
        missing = need - self._tokens
        return 0.0 if missing <= 1e-9 else missing / self._rate.per_second

    def take(self, cost: float = 1.0) -> None:
        """Take, after `wait` said 0."""
        self._tokens -= cost

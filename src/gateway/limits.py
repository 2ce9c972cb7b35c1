"""How many messages a user may send: a sliding minute over all his channels and connections.

Pure machine: `now` is monotonic seconds, so a clock set back changes nothing. `metered_bus.py` puts
it in front of the bus for everyone; nobody below it counts again.
"""

from collections import OrderedDict, deque

from bus.errors import RateLimited

WINDOW = 60.0
_USERS = 50_000


class MessageRate:
    """`per_minute` messages in any 60 seconds per user; 0 is no limit."""

    def __init__(self, per_minute: int) -> None:
        self._limit = per_minute
        self._sent: OrderedDict[str, deque[float]] = OrderedDict()

    def take(self, user: str, now: float) -> None:
        """Count one message. Raises RateLimited (1005) with the milliseconds until the next may come."""
        if not self._limit:
            return
        sent = self._sent.get(user)
        if sent is None:
            sent = self._sent[user] = deque()
            while len(self._sent) > _USERS:
                self._sent.popitem(last=False)
        self._sent.move_to_end(user)
        while sent and sent[0] <= now - WINDOW:
            sent.popleft()
        if len(sent) >= self._limit:
            wait = int((sent[0] + WINDOW - now) * 1000) + 1
            raise RateLimited(f"at most {self._limit} messages a minute", retry_after_ms=wait)
        sent.append(now)

    def give_back(self, user: str, now: float) -> None:
        """The message counted at `now` was not taken after all (1007), or was a repeat: it counts once."""
        sent = self._sent.get(user)
        if sent is not None and now in sent:
            sent.remove(now)

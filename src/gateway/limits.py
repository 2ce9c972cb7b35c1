"""How many messages a user may send: a sliding minute over all his channels and connections.

Pure machine: `now` is monotonic seconds, so a clock set back changes nothing. `LimitedInbound` puts
it in front of the bus for everyone; nobody below it counts again.
"""

import time
from collections import OrderedDict, deque
from collections.abc import Callable

from bus.errors import RateLimited
from bus.events import Accepted, InboundMessage
from bus.message_bus import Acceptor, Inbound

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


class LimitedInbound:
    """The bus's way in, with the rate in front."""

    def __init__(self, inner: Inbound, rate: MessageRate, now: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._rate = rate
        self._now = now

    async def submit(self, message: InboundMessage) -> Accepted:
        """As `Inbound.submit`; raises RateLimited too."""
        if message.wants_reply:
            self._rate.take(message.actor.user, self._now())
        return await self._inner.submit(message)

    def accept_with(self, acceptor: Acceptor) -> Callable[[], None]:
        """As the bus does."""
        return self._inner.accept_with(acceptor)

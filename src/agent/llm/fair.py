"""A fair share of one model for each person: so many rounds at once, and those who wait take turns by person.

Used by `fallback.py`, one share for each entry, and for the processes that read pages and PDFs (`web_text.py`,
`files.py`). Somebody with fifty sub-agents waits behind his own rounds, not everybody else behind his.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class FairShare:
    """At most `limit` rounds at once; of the waiting, the next person's first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running = 0
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._turns: deque[str] = deque()

    @property
    def running(self) -> int:
        return self._running

    @property
    def waiting(self) -> int:
        return sum(map(len, self._queues.values()))

    @asynccontextmanager
    async def slot(self, user: str) -> AsyncIterator[None]:
        """Hold a place while the round runs. Waits without a limit: the caller has a deadline."""
        if self._running < self._limit and not self._turns:
            self._running += 1
        else:
            await self._wait(user)
        try:
            yield
        finally:
            self._running -= 1
            self._next()

    async def _wait(self, user: str) -> None:
        place = asyncio.get_running_loop().create_future()
        queue = self._queues.get(user)
        if queue is None:
            queue = self._queues[user] = deque()
            self._turns.append(user)
        queue.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # it was just given the place: pass it on
                self._running -= 1
                self._next()
            else:
                self._forget(user, place)
            raise

    def _next(self) -> None:
        """Give free places away, one person after another."""
        while self._running < self._limit and self._turns:
            user = self._turns.popleft()
            queue = self._queues[user]
            place = queue.popleft()
            if queue:
                self._turns.append(user)
            else:
                del self._queues[user]
            if not place.done():
                self._running += 1
                place.set_result(None)

    def _forget(self, user: str, place: "asyncio.Future[None]") -> None:
        queue = self._queues.get(user)
        if queue is not None and place in queue:
            queue.remove(place)
            if not queue:
                del self._queues[user]
                self._turns.remove(user)

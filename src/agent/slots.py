"""A bounded number of turns for each person, first come first served."""

import asyncio
from collections import deque


class UserSlots:
    """`limit` turns of one user at a time; nothing is kept of users without any."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._running: dict[str, int] = {}
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def acquire(self, user: str) -> None:
        """Wait for a slot. Whoever returns from here must `release`."""
        if self._running.get(user, 0) < self._limit:
            self._running[user] = self._running.get(user, 0) + 1
            return
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(user, deque()).append(ticket)
        try:
            await ticket
        except asyncio.CancelledError:
            if ticket.done() and not ticket.cancelled():
                self.release(user)  # it was handed over in the moment of the cancellation
            else:
                self._forget(user, ticket)
            raise

    def _forget(self, user: str, ticket: "asyncio.Future[None]") -> None:
        queue = self._waiting.get(user)
        if queue and ticket in queue:
            queue.remove(ticket)
            if not queue:
                del self._waiting[user]

    def release(self, user: str) -> None:
        """Give the slot to the next in line, or back."""
        queue = self._waiting.get(user)
        while queue:
            ticket = queue.popleft()
            if not queue:
                self._waiting.pop(user, None)
            if not ticket.done():
                ticket.set_result(None)
                return
        left = self._running.get(user, 0) - 1
        if left > 0:
            self._running[user] = left
        else:
            self._running.pop(user, None)

    @property
    def waiting(self) -> int:
        """Turns that wait for a slot, over all users."""
        return sum(len(queue) for queue in self._waiting.values())

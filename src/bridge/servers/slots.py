"""How many requests a server may have at once: a semaphore that can also be asked without waiting."""

import asyncio
from collections import deque


class Slots:
    """`limit` places, given in the order of asking."""

    __slots__ = ("_free", "_waiting")

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def free(self) -> bool:
        """Whether `take` would not wait: nobody waits while there are free places."""
        return self._free > 0

    def take_free(self) -> None:
        """Take a place that is `free`."""
        self._free -= 1

    async def take(self) -> None:
        """Wait for a place. Cancelling it takes none."""
        if self.free:
            self._free -= 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():
                self.give()  # it was handed over at the same moment
            raise

    def give(self) -> None:
        """Give a place back: to whoever waits longest. Those who gave up waiting are passed over."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

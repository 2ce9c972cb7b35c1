"""One lane per chat for what comes in: in order there, and one slow chat holds up no other.

For adapters whose platform pushes (Discord, Feishu). A lane exists while it has work
and is bounded: what does not fit is left to the platform's own way of catching up.
Knows neither platforms nor parsing.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeAlias

Job: TypeAlias = Callable[[], Awaitable[None]]

CAPACITY = 200


class _Lane:
    def __init__(self) -> None:
        self.jobs: deque[Job] = deque()
        self.overflowed = False


class Lanes:
    """`catch_up(key)` is called by a lane whose jobs did not all fit, after those that did. Jobs must not raise."""

    def __init__(self, catch_up: Callable[[str], Awaitable[None]] | None = None, capacity: int = CAPACITY) -> None:
        self._catch_up = catch_up
        self._capacity = capacity
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, key: str, job: Job) -> bool:
        """Do `job` after what waits under `key`; False where the lane is full, or has yet to catch up.

        What comes after something that did not fit may not be done before it: it would count as caught up.
        """
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            task = asyncio.get_running_loop().create_task(self._run(key, lane), name=f"lane {key}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if lane.overflowed or len(lane.jobs) >= self._capacity:
            lane.overflowed = True
            return False
        lane.jobs.append(job)
        return True

    async def _run(self, key: str, lane: _Lane) -> None:
        try:
            while lane.jobs or lane.overflowed:
                if lane.jobs:
                    await lane.jobs.popleft()()
                else:
                    lane.overflowed = False
                    if self._catch_up is not None:
                        await self._catch_up(key)
        finally:
            if self._lanes.get(key) is lane:
                del self._lanes[key]

    async def close(self) -> None:
        """Drop what waits: it was not confirmed, so the platform still has it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

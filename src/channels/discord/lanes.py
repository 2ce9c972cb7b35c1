"""One lane per Discord channel: what happens there is taken in in order, and one slow channel holds up no other.

A lane exists while it has work. It is bounded: what does not fit is left to the
look back, which the lane then does itself. Knows neither the SDK nor parsing.
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
    """`look_back(key)` is called by a lane whose jobs did not all fit, after those that did."""

    def __init__(self, look_back: Callable[[str], Awaitable[None]], capacity: int = CAPACITY) -> None:
        self._look_back = look_back
        self._capacity = capacity
        self._lanes: dict[str, _Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def put(self, key: str, job: Job) -> None:
        """Do `job` after what waits under `key`."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane()
            task = asyncio.get_running_loop().create_task(self._run(key, lane), name=f"discord lane {key}")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(lane.jobs) >= self._capacity:
            lane.overflowed = True
        else:
            lane.jobs.append(job)

    async def _run(self, key: str, lane: _Lane) -> None:
        try:
            while lane.jobs or lane.overflowed:
                if lane.jobs:
                    await lane.jobs.popleft()()
                else:
                    lane.overflowed = False
                    await self._look_back(key)
        finally:
            del self._lanes[key]

    async def close(self) -> None:
        """Drop what waits; it is not marked as read, so the next look back finds it."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

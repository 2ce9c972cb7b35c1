"""The callers of the tunnel's rates: one WebSocket of `websockets`, any number of coroutines over it.

Each coroutine sends a request, awaits the answer of its own id, and sends the next: what an agent, a sub-agent or a
client of the API does. The bare hop (`bench/echo.py`) and the gateway are asked by the very same callers, so that
what they cost is in both figures.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import orjson
from websockets.asyncio.client import connect

from bench.processes import TOKEN


class Callers:
    """One connection to `url`, and the futures of those who wait at it."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("http", "ws", 1) + "/ws"
        self._number = 0
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}

    async def __aenter__(self) -> "Callers":
        self._stack = AsyncExitStack()
        self._socket = await self._stack.enter_async_context(
            connect(self._url, compression=None, max_size=None, ping_interval=None, proxy=None,
                    additional_headers={"Authorization": f"Bearer {TOKEN}"})
        )  # fmt: skip
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._reader.cancel()
        await self._stack.aclose()

    async def _read(self) -> None:
        async for message in self._socket:
            answer = orjson.loads(message)
            waiting = self._waiting.pop(answer.get("id"), None)
            if waiting is not None:
                waiting.set_result(answer)

    async def call(self, tool: str) -> None:
        """One `tools.call`, answered; a bare hop answers with the request."""
        self._number += 1
        number = self._number
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        params = {"name": tool, "arguments": {"text": "x"}}
        request = {"jsonrpc": "2.0", "id": number, "method": "tools.call", "params": params}
        await self._socket.send(orjson.dumps(request).decode())
        answer = await future
        if "error" in answer:
            raise RuntimeError(str(answer["error"]))

    async def rate(self, tool: str, count: int, side_by_side: int = 64) -> float:
        """Calls per second: `count` of them by `side_by_side` coroutines."""
        return await rate(lambda: self.call(tool), count, side_by_side)


async def rate(work: Callable[[], Awaitable[Any]], count: int, side_by_side: int) -> float:
    """How often `work` is done in a second: `count` times by `side_by_side` coroutines."""
    left = iter(range(count))

    async def one_after_another() -> None:
        for _ in left:
            await work()

    begun = time.perf_counter()
    await asyncio.gather(*(one_after_another() for _ in range(side_by_side)))
    return count / (time.perf_counter() - begun)


async def milliseconds(work: Callable[[], Any]) -> float:
    """How long one call of `work` took."""
    begun = time.perf_counter()
    await work()
    return (time.perf_counter() - begun) * 1000

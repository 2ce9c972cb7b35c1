"""One socket of one person, whose every frame goes to an `Ear` the moment it is read."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import Callable
from typing import Any

import websockets

from tests.e2e.any_order.book import MARK, Ear
from tests.gateway.edge.harness import TOKENS

Result = dict[str, Any]


class Gone(Exception):
    """The line ended before the answer came."""


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, error: Result) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = int(error["code"])


class Line:
    """`call` asks; `heard` gets the result in the order of the frames, before any event that follows it."""

    def __init__(self, ear: Ear) -> None:
        self.ear = ear
        self.socket: Any = None
        self.dead = False
        """Nothing that comes from now on was told."""
        self._numbers = itertools.count(1)
        self._waiting: dict[int, tuple[asyncio.Future[Any], Callable[[Result], None] | None]] = {}
        self._reader: asyncio.Task[None] | None = None
        self.order = asyncio.Lock()

    async def open(self, url: str) -> "Line":
        self.socket = await websockets.connect(
            url, additional_headers={"Authorization": f"Bearer {TOKENS[self.ear.user]}"}, proxy=None, max_size=None,
            max_queue=None, compression=None, close_timeout=2,
        )  # fmt: skip
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    @property
    def waits(self) -> list[int]:
        return list(self._waiting)

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                if self.dead:
                    return
                strangers = {user for user, _ in MARK.findall(text)} - {self.ear.user}
                if strangers:
                    self.ear.broken(f"heard {strangers}: {text[:300]}")
                frame = json.loads(text)
                for item in frame if isinstance(frame, list) else [frame]:
                    self._got(item)
        except websockets.ConnectionClosed:
            pass
        except Exception as error:  # a fault of the test must be seen, not make a task that nobody looks at
            self.ear.broken(f"the reader broke: {error!r}")
        finally:
            self.dead = True
            self.ear.lost()
            for future, _ in self._waiting.values():
                if not future.done():
                    future.set_exception(Gone())
                    future.exception()
            self._waiting.clear()

    def _got(self, frame: Result) -> None:
        if frame.get("method") == "event":
            self.ear.hear(frame["params"])
            return
        waiting = self._waiting.pop(frame.get("id") or 0, None)
        if waiting is None:
            self.ear.broken(f"an answer that nobody waits for: {frame}")
            return
        future, heard = waiting
        if "result" in frame and heard is not None:
            heard(frame["result"])
        if future.done():
            return
        if "error" in frame:
            future.set_exception(Refused(frame["error"]))
        else:
            future.set_result(frame["result"])

    def request(
        self, method: str, params: Result, heard: Callable[[Result], None] | None = None
    ) -> "tuple[asyncio.Future[Any], Result]":
        """A request that is to be sent, and the future of its answer."""
        number = next(self._numbers)
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        future.add_done_callback(lambda done: done.cancelled() or done.exception())
        if self.dead:
            future.set_exception(Gone())
        else:
            self._waiting[number] = future, heard
        return future, {"jsonrpc": "2.0", "id": number, "method": method, "params": params}

    async def send(self, what: Any) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await self.socket.send(json.dumps(what))

    async def call(self, method: str, heard: Callable[[Result], None] | None = None, **params: Any) -> Any:
        """The result. Raises Refused, Gone, TimeoutError where no answer comes at all."""
        future, body = self.request(method, params, heard)
        self.ear.book.operations += 1
        await self.send(body)
        return await future

    async def close(self, *, rudely: bool = False) -> None:
        """Hang up; what is still on its way is not heard."""
        self.dead = True
        if self.socket is None:
            return
        if rudely:
            self.socket.transport.abort()
        with contextlib.suppress(Exception):  # however the line ends, it is gone
            await self.socket.close()
        if self._reader is not None:
            await asyncio.wait([self._reader])

"""All WebSocket clients that are connected: counted, found by token or user, closed together."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from bus.errors import GatewayError, Overloaded
from gateway.auth import Authenticator, Principal

NOT_AUTHENTICATED = 4501
SWEEP_SECONDS = 1.0


class Socket(Protocol):
    """One connection, as far as the registry knows it."""

    @property
    def principal(self) -> Principal | None: ...

    def close(self, code: int, reason: str = "", *, grace: float = 2.0) -> None: ...

    def beat(self, seconds: float) -> None: ...


class Sockets:
    """The registry. `limit` is `server.max_connections`, `heartbeat` in seconds."""

    def __init__(self, limit: int, authenticator: Authenticator, *, heartbeat: float = 30.0) -> None:
        self._limit = limit
        self._heartbeat = heartbeat
        self._authenticator = authenticator
        self._sockets: set[Socket] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._empty = asyncio.Event()
        self._empty.set()

    def __len__(self) -> int:
        return len(self._sockets)

    def check_room(self) -> None:
        """Raises Overloaded (1007) at the limit."""
        if len(self._sockets) >= self._limit:
            raise Overloaded("too many connections", retry_after_ms=5000)

    def add(self, socket: Socket) -> None:
        """Count one in."""
        self._sockets.add(socket)
        self._empty.clear()

    def remove(self, socket: Socket) -> None:
        """It is gone."""
        self._sockets.discard(socket)
        if not self._sockets:
            self._empty.set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something short that belongs to no connection any more, such as letting a user go."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close_token(self, token_id: str) -> int:
        """Close whoever came with this token; how many."""
        return self._close(lambda p: p.token_id == token_id, NOT_AUTHENTICATED, "this token was revoked")

    def close_user(self, user: str) -> int:
        """Close everything of this user; how many."""
        return self._close(lambda p: p.user == user, NOT_AUTHENTICATED, "this user was removed")

    def _close(self, wanted: Callable[[Principal], bool], code: int, reason: str) -> int:
        found = [s for s in self._sockets if s.principal is not None and wanted(s.principal)]
        for socket in found:
            socket.close(code, reason, grace=1.0)
        return len(found)

    def sweep(self) -> None:
        """Close those whose token has died of old age since they came."""
        for socket in list(self._sockets):
            if socket.principal is None:
                continue
            try:
                self._authenticator.recheck(socket.principal)
            except GatewayError as error:
                socket.close(NOT_AUTHENTICATED, error.message, grace=1.0)

    async def run(self) -> None:
        """Sweep until cancelled."""
        while True:
            await asyncio.sleep(min(SWEEP_SECONDS, self._heartbeat / 4))
            self.sweep()
            for socket in tuple(self._sockets):
                socket.beat(self._heartbeat)

    async def close_all(self, code: int, reason: str, *, seconds: float) -> None:
        """Close everybody and wait until they are gone, for `seconds` at most."""
        for socket in list(self._sockets):
            socket.close(code, reason, grace=seconds)
        try:
            async with asyncio.timeout(seconds + 0.5):
                await self._empty.wait()
        except TimeoutError:
            pass
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

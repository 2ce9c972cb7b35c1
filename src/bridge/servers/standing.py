"""Where one MCP server stands: its state, the session that serves while there is one, and who waits for a change.

`owner.py` alone turns it; its callers wait here. Knows neither processes nor requests.
"""

import asyncio
from collections.abc import Callable
from typing import Literal

from bridge.errors import ServerDown
from bridge.servers.session import Session

State = Literal["starting", "ready", "stopped", "failed"]


class Standing:
    """`changed()` is called after any change worth showing; `wanted` is set where a sleeping server is called."""

    def __init__(self, name: str, state: State, changed: Callable[[], None]) -> None:
        self.state: State = state
        self.error: str | None = None
        self.session: Session | None = None
        self.changed = changed
        self.wanted = asyncio.Event()
        self.waiters = 0
        self._name = name
        self._turned = asyncio.Event()

    @property
    def serving(self) -> Session | None:
        """The session, where the server is ready and it is not lost."""
        session = self.session
        return session if session is not None and self.state == "ready" and not session.lost.is_set() else None

    def turn(self, state: State, error: str | None) -> None:
        """The server stands differently now, and why."""
        before = (self.state, self.error)
        self.state, self.error = state, error
        self._turned.set()
        if before != (state, error):
            self.changed()

    async def ready(self, on_wait: Callable[[str], None] | None) -> Session:
        """Wait until it serves, starting it where it sleeps; `on_wait` is told `starting`. Raises ServerDown."""
        self.wanted.set()
        if on_wait is not None and self.state != "failed":
            on_wait("starting")
        self.waiters += 1
        try:
            while (session := self.serving) is None:
                if self.state == "failed":
                    raise ServerDown(f"{self._name} is down: {self.error}")
                self._turned.clear()
                await self._turned.wait()
            return session
        finally:
            self.waiters -= 1

    async def gone(self, session: Session) -> None:
        """Wait until a session that failed a call is put away; one that is still well is used again."""
        if session.lost.is_set():
            while self.session is session:
                self._turned.clear()
                await self._turned.wait()
        else:
            await asyncio.sleep(0.05)

    async def settled(self, *, first: bool) -> None:
        """Wait until it is no longer starting; with `first` only for the outcome of the first start."""
        while self.state == "starting" and not (first and self.error is not None):
            self._turned.clear()
            await self._turned.wait()

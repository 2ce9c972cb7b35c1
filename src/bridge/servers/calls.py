"""What travels with one request to an MCP server: who hears of progress, who may be asked, how long it may take."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TypeAlias

from bridge.servers.jsonrpc import JsonObject


@dataclass(frozen=True, slots=True)
class Progress:
    progress: float
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Question:
    """An elicitation: a question of a server's to the person whose call runs. `schema` is what an answer looks like."""

    server: str
    message: str
    schema: JsonObject


OnProgress: TypeAlias = Callable[[Progress], None]
OnQuestion: TypeAlias = Callable[[Question], Awaitable[JsonObject]]
"""Answers `{"action": "accept"|"decline"|"cancel", "content"?}`. Cancelled when nobody waits any more."""


class Pausing(Protocol):
    """A time limit that can stand still."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Clock:
    """A time limit that stands still while somebody is being asked. Seconds; None never ends."""

    def __init__(self, seconds: float | None) -> None:
        self._timeout = asyncio.timeout(seconds)
        self._paused = 0
        self._over = False
        self._left: float | None = seconds

    async def __aenter__(self) -> "Clock":
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True  # a question may outlive its call: the server answered, and did not wait
        await self._timeout.__aexit__(kind, error, trace)

    @property
    def _counts(self) -> bool:
        return not self._over and not self._timeout.expired()

    def left(self) -> float | None:
        """Seconds that are left."""
        end = self._timeout.when()
        if self._paused or end is None:
            return self._left
        return max(0.0, end - asyncio.get_running_loop().time())

    def pause(self) -> None:
        if self._paused == 0 and self._counts:
            self._left = self.left()
            self._timeout.reschedule(None)
        self._paused += 1

    def resume(self) -> None:
        self._paused -= 1
        if self._paused == 0 and self._left is not None and self._counts:
            self._timeout.reschedule(asyncio.get_running_loop().time() + self._left)


@dataclass(slots=True)
class Call:
    """One request from its caller's point of view."""

    clock: Pausing
    on_progress: OnProgress | None = None
    on_question: OnQuestion | None = None
    scope: str = ""
    """Whose call this is. Where calls of several scopes run in one server, its questions can't be told apart."""
    sent: bool = False
    """Whether the server may have seen it."""


def unlimited() -> Call:
    """A request of our own, whose time somebody else limits."""
    return Call(Clock(None))


def read_progress(params: JsonObject) -> tuple[Any, Progress] | None:
    """The token and the news of a `notifications/progress`, or None where it is malformed."""
    token, progress, total = params.get("progressToken"), params.get("progress"), params.get("total")
    message = params.get("message")
    if isinstance(progress, bool) or not isinstance(progress, int | float):
        return None
    good_total = total if isinstance(total, int | float) and not isinstance(total, bool) else None
    return token, Progress(progress, good_total, message[:1000] if isinstance(message, str) else None)

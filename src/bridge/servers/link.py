"""What carries messages to one MCP server and back: the port that `stdio.py` and `http.py` implement."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from bridge.servers.jsonrpc import JsonObject


@dataclass(frozen=True, slots=True)
class Line:
    """A line as the server wrote it."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a library has decoded."""

    value: Any


@dataclass(frozen=True, slots=True)
class TooLong:
    """A line above the cap: its first and last bytes, and its size."""

    start: bytes
    end: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Unanswered:
    """The transport knows that this request will get no answer; `seen` says whether the server may have acted on it."""

    id: Any
    reason: str
    seen: bool


@dataclass(frozen=True, slots=True)
class Unreadable:
    """The server answered this request with what is no message."""

    id: Any


Incoming: TypeAlias = Line | Message | TooLong | Unanswered | Unreadable
Receive: TypeAlias = Callable[[Incoming], None]
Post: TypeAlias = Callable[[JsonObject], None]
"""Raises ValueError for what is not JSON."""
Closed: TypeAlias = Callable[[str], None]
"""Called once, when the server is gone, with the reason for people."""


class Link(Protocol):
    """An open connection. `send` and `close` are called by the session and its owner only."""

    async def send(self, message: JsonObject) -> None:
        """Hand one message over, waiting where the server reads too slowly. Raises ConnectionError once gone."""
        ...

    def quick(self) -> "Post | None":
        """How to hand a message over without waiting; None where that can't be done now."""
        ...

    def adopt(self, version: str, *, modern: bool) -> None:
        """Told once, after the handshake, which protocol was agreed on."""
        ...

    async def close(self) -> None:
        """End the connection and everything that belongs to it. Safe to call twice."""
        ...


class LinkLost(ConnectionError):
    """The server is gone. `reason` is for people; `sent` says that it may have seen the message."""

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent

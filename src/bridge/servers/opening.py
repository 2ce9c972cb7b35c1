"""The way to a server, by its settings: the only place that knows all kinds of links. Below `owner.py`."""

from collections.abc import Awaitable, Callable
from typing import Any

from bridge.errors import BridgeError, McpError
from bridge.servers.definitions import one_line
from bridge.servers.groups import ProcessGroups
from bridge.servers.link import Closed, Link, LinkLost, Receive
from bridge.servers.process import CommandNotFound
from bridge.settings import McpServerSettings

Authorise = Callable[[McpServerSettings], Awaitable[Any]]
"""Gives the `httpx2.Auth` for a server with `sign_in`."""


async def open_link(
    settings: McpServerSettings, receive: Receive, closed: Closed, groups: ProcessGroups,
    authorise: Authorise | None = None,
) -> Link:  # fmt: skip
    """Connect to a server in its own way. What HTTP needs is imported only where such a server is configured.

    Raises LinkLost, CommandNotFound.
    """
    if settings.kind == "stdio":
        from bridge.servers.stdio import open_stdio

        return await open_stdio(settings, receive, closed, groups)
    from bridge.servers.http import open_http

    if settings.sign_in is None:
        return await open_http(settings, receive, closed)
    if authorise is None:
        raise LinkLost("'sign_in' works in the gateway's mcp_servers only")
    return await open_http(settings, receive, closed, await authorise(settings))


def describe(error: BaseException) -> str:
    """A reason for people: the innermost of a nest of exception groups, without a stack."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    text = str(error) or type(error).__name__
    return " ".join(text.split())[:500]


def reason_of(error: Exception) -> tuple[str, bool]:
    """Why a server ended, for people, and whether starting it again is of no use."""
    if isinstance(error, BridgeError | McpError):
        return one_line(error.message), False
    return (str(error), True) if isinstance(error, CommandNotFound) else (describe(error), False)

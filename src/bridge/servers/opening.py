"""The way to a server, by its settings: the only place that knows all kinds of links. Below `owner.py`."""

from bridge.servers.groups import ProcessGroups
from bridge.servers.link import Closed, Link, Receive
from bridge.settings import McpServerSettings


async def open_link(settings: McpServerSettings, receive: Receive, closed: Closed, groups: ProcessGroups) -> Link:
    """Connect to a server in its own way. What HTTP needs is imported only where such a server is configured."""
    if settings.kind == "stdio":
        from bridge.servers.stdio import open_stdio

        return await open_stdio(settings, receive, closed, groups)
    from bridge.servers.http import open_http

    return await open_http(settings, receive, closed)


def describe(error: BaseException) -> str:
    """A reason for people: the innermost of a nest of exception groups, without a stack."""
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    text = str(error) or type(error).__name__
    return " ".join(text.split())[:500]

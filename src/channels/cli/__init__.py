"""The terminal: a renderer over a WebSocket client, with no path of its own into the gateway.

`link.py` keeps a connection and goes on after a drop, `follow.py` (pure) knows what was
seen, `blocks.py` (pure) cuts growing Markdown into finished pieces, `screen.py` draws,
`interactive.py` and `once.py` are the two ways of using it. Above: `gateway chat`.
"""

from channels.cli.link import LinkRefused, RpcFailed

__all__ = ["LinkRefused", "RpcFailed"]

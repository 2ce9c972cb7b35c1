"""The bridge's WebSocket: one of `websockets`, which hands each whole message over as soon as it is parsed.

The library itself wakes a task for what came, by a queue; here whoever was given to `hand_over_to` is called for every
message of a piece that was read, so that what calls need is done before the loop goes round. Above is
`connection.py`; what a message means is not known here.
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from websockets.asyncio import client
from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.headers import build_authorization_basic
from websockets.protocol import Event

from bridge.servers import turn

_DATA = frozenset({Opcode.TEXT, Opcode.BINARY, Opcode.CONT})


def _proxy_authorization(user: str, password: str) -> str:
    """What a URL can't hold stands in it as `%40`: the library sends that to the proxy as it is."""
    return build_authorization_basic(unquote(user), unquote(password))


vars(client)["build_authorization_basic"] = _proxy_authorization


class TunnelSocket(ClientConnection):
    """For `websockets.connect(…, create_connection=TunnelSocket)`. Nothing comes out of its `recv`."""

    def __init__(self, protocol: ClientProtocol, **options: Any) -> None:
        super().__init__(protocol, **options)
        self._message: Callable[[bytes], None] | None = None
        self._early: list[bytes] = []
        self._parts: list[bytes] = []

    def hand_over_to(self, message: Callable[[bytes], None]) -> None:
        """From now on call `message` for each message. It never raises."""
        early, self._early = self._early, []
        self._message = message
        for data in early:
            message(data)

    def data_received(self, data: bytes) -> None:
        outermost = turn.begin()
        try:
            super().data_received(data)
        finally:
            if outermost:
                turn.end()

    def process_event(self, event: Event) -> None:
        if not isinstance(event, Frame) or event.opcode not in _DATA:
            super().process_event(event)
            return
        data = bytes(event.data)
        if not event.fin or self._parts:
            self._parts.append(data)
            if not event.fin:
                return
            data = b"".join(self._parts)
            self._parts = []
        if self._message is None:
            self._early.append(data)
        else:
            self._message(data)

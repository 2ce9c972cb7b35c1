"""One event on its way to clients, encoded once for all of them.

Between the hub above and the sockets, event streams and tests below. The payload is the JSON-RPC
notification `event`; the frame is the same as one unmasked WebSocket text frame (RFC 6455, 5.2),
which is equal for every client because compression is off.
"""

from functools import lru_cache
from struct import pack
from typing import Any

import orjson

from bus import codec
from bus.events import ChatDelta, Event
from gateway.protocol import dumps


class Packet:
    """An event with its encoded forms, made when first asked for."""

    __slots__ = ("_frame", "_payload", "event")

    def __init__(self, event: Event) -> None:
        self.event = event
        self._payload: bytes | None = None
        self._frame: bytes | None = None

    @property
    def payload(self) -> bytes:
        """The notification as JSON."""
        if self._payload is None:
            self._payload = encode(self.event)
        return self._payload

    @property
    def frame(self) -> bytes:
        """The notification as a WebSocket frame."""
        if self._frame is None:
            self._frame = text_frame(self.payload)
        return self._frame


@lru_cache(maxsize=4096)
def _delta_head(session_key: str, message_id: str) -> bytes:
    head = {"type": "chat.delta", "session_key": session_key, "message_id": message_id}
    return b'{"jsonrpc":"2.0","method":"event","params":' + dumps(head)[:-1] + b',"seq":'


def encode(event: Event) -> bytes:
    """The JSON of the notification that carries `event`."""
    if isinstance(event, ChatDelta):
        head = _delta_head(event.session.text, event.message_id)
        middle = b"" if event.from_seq is None else b',"from_seq":%d' % event.from_seq
        return b'%b%d%b,"delta":%b}}' % (head, event.seq, middle, _text(event.delta))
    return dumps({"jsonrpc": "2.0", "method": "event", "params": codec.params(event)})


def _text(text: str) -> bytes:
    try:
        return orjson.dumps(text)
    except TypeError:  # an unpaired surrogate out of a model's mouth
        return dumps(text)


def text_frame(payload: bytes) -> bytes:
    """`payload` as one unmasked, final text frame."""
    length = len(payload)
    if length < 126:
        return bytes((0x81, length)) + payload
    if length < 65536:
        return pack("!BBH", 0x81, 126, length) + payload
    return pack("!BBQ", 0x81, 127, length) + payload


def response_frame(message: Any) -> bytes:
    """A JSON-RPC response, or a batch of them, as a frame."""
    return text_frame(dumps(message))

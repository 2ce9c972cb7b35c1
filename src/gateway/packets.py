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
        payload = self._payload
        if payload is None:
            payload = self._payload = encode(self.event)
        return payload

    @property
    def frame(self) -> bytes:
        """The notification as a WebSocket frame."""
        frame = self._frame
        if frame is None:
            frame = self._frame = text_frame(self._payload or encode(self.event))
        return frame


@lru_cache(maxsize=4096)
def _delta_head(session_key: str, message_id: str) -> bytes:
    head = {"type": "chat.delta", "session_key": session_key, "message_id": message_id}
    return b'{"jsonrpc":"2.0","method":"event","params":' + dumps(head)[:-1] + b',"seq":'


def encode(event: Event) -> bytes:
    """The JSON of the notification that carries `event`."""
    if type(event) is ChatDelta:
        head = _delta_head(event.session.text, event.message_id)
        try:
            delta = orjson.dumps(event.delta)
        except TypeError:  # an unpaired surrogate out of a model's mouth
            delta = dumps(event.delta)
        if event.from_seq is None:
            return head + b'%d,"delta":' % event.seq + delta + b"}}"
        return head + b'%d,"from_seq":%d,"delta":' % (event.seq, event.from_seq) + delta + b"}}"
    return dumps({"jsonrpc": "2.0", "method": "event", "params": codec.params(event)})


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

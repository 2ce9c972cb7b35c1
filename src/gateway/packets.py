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
from gateway.json_text import UNWRITABLE, dumps
from gateway.protocol import response_bytes


class Packet:
    """An event with its encoded forms, made when first asked for. `made` is the frame, empty until then."""

    __slots__ = ("_payload", "event", "made")

    def __init__(self, event: Event) -> None:
        self.event = event
        self.made = b""
        self._payload = b""

    @property
    def payload(self) -> bytes:
        """The notification as JSON."""
        if not self._payload:
            self._payload = encode(self.event)
        return self._payload

    @property
    def frame(self) -> bytes:
        """The notification as a WebSocket frame."""
        return self.made or self.make()

    def make(self) -> bytes:
        """Make the frame."""
        event = self.event
        self.made = made = delta_frame(event) if type(event) is ChatDelta else text_frame(self.payload)
        return made


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
    params = codec.params(event)
    try:
        return dumps({"jsonrpc": "2.0", "method": "event", "params": params})
    except UNWRITABLE:  # arguments that no writer takes: the event itself has to arrive
        params = {name: value for name, value in params.items() if isinstance(value, str | int | None)}
        return dumps({"jsonrpc": "2.0", "method": "event", "params": params})


def delta_frame(event: ChatDelta) -> bytes:
    """`text_frame(encode(event))`, for what every piece of every answer goes through."""
    head, seq = _delta_head(event.session.text, event.message_id), b"%d" % event.seq
    try:
        delta = orjson.dumps(event.delta)
    except TypeError:
        return text_frame(encode(event))
    length = len(head) + len(seq) + len(delta) + 11
    if event.from_seq is None and 125 < length < 65536:
        return b'\x81\x7e%c%c%b%b,"delta":%b}}' % (length >> 8, length & 255, head, seq, delta)
    return text_frame(encode(event))


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
    return text_frame(response_bytes(message))

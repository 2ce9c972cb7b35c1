"""The long connection as a machine: frames in, what to do out. No socket, no clock of its own.

Rules are those of lark-oapi 1.7 (`ws/client.py`): control frames ping and pong, data
frames carry events, an event may be cut into several frames, and every data frame
is answered by itself with `{"code"}` and, for callbacks, base64 `data`. Unlike the
SDK an event is answered when it is durable, and one of a kind that nobody wants is
answered too, so that it does not come again.
"""

import base64
import json
import time
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from channels.feishu.frames import CONTROL, DATA, BadFrame, Frame, decode, encode

Object: TypeAlias = dict[str, Any]

_PART_SECONDS = 30.0
_MOST_PARTS = 256
_MOST_OPEN = 1000


@dataclass(slots=True)
class Event:
    """One whole event, and the frame that its answer goes back in."""

    payload: Object
    frame: Frame
    began: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class _Parts:
    since: float
    pieces: dict[int, bytes] = field(default_factory=dict)


class Link:
    """`ping_seconds` is the server's to set, at the start and with every pong."""

    def __init__(self, service: int, ping_seconds: float) -> None:
        self._service = service
        self.ping_seconds = ping_seconds
        self._parts: dict[str, _Parts] = {}

    def ping(self) -> bytes:
        """The frame to send every `ping_seconds`."""
        return encode(Frame(service=self._service, method=CONTROL, headers={"type": "ping"}))

    def receive(self, data: bytes, now: float) -> Event | None:
        """Advance on one binary message; an event, once it is whole. A frame that cannot be read is left out."""
        try:
            frame = decode(data)
            if frame.method == CONTROL:
                self._control(frame)
                return None
            payload = self._whole(frame, now) if frame.method == DATA else None
            if payload is None or frame.headers.get("type") not in ("event", "card"):
                return None
            parsed = json.loads(payload)
        except (BadFrame, ValueError, RecursionError):
            return None
        return Event(parsed, frame) if isinstance(parsed, dict) else None

    def _control(self, frame: Frame) -> None:
        if frame.headers.get("type") != "pong" or not frame.payload:
            return
        seconds = json.loads(frame.payload).get("PingInterval")
        if isinstance(seconds, int | float) and seconds > 0:
            self.ping_seconds = float(seconds)

    def _whole(self, frame: Frame, now: float) -> bytes | None:
        total, at = int(frame.headers.get("sum", "1")), int(frame.headers.get("seq", "0"))
        if total <= 1:
            return frame.payload
        if total > _MOST_PARTS or not 0 <= at < total:
            raise BadFrame("too many parts")
        self._forget(now)
        key = frame.headers.get("message_id", "")
        parts = self._parts.setdefault(key, _Parts(now))
        parts.pieces[at] = frame.payload
        if len(parts.pieces) < total:
            return None
        del self._parts[key]
        return b"".join(parts.pieces[number] for number in range(total))

    def _forget(self, now: float) -> None:
        old = [key for key, parts in self._parts.items() if now - parts.since > _PART_SECONDS]
        for key in old:
            del self._parts[key]
        if len(self._parts) > _MOST_OPEN:
            self._parts.clear()


def answer(event: Event, code: int, data: Object | None = None) -> bytes:
    """The frame that answers `event`; only with code 200 it does not come again."""
    body: Object = {"code": code, "headers": None, "data": None}
    if data is not None:
        body["data"] = base64.b64encode(json.dumps(data, ensure_ascii=False).encode()).decode()
    frame = event.frame
    headers = dict(frame.headers) | {"biz_rt": str(int((time.monotonic() - event.began) * 1000))}
    return encode(
        Frame(seq_id=frame.seq_id, log_id=frame.log_id, service=frame.service, method=frame.method, headers=headers,
              payload_encoding=frame.payload_encoding, payload_type=frame.payload_type,
              payload=json.dumps(body).encode(), log_id_new=frame.log_id_new)
    )  # fmt: skip

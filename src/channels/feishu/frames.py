"""The frames of Feishu's long connection: proto2 in binary WebSocket messages, encoded and decoded.

Pure. The fields are those of `pbbp2.proto` in lark-oapi 1.7, whose own generated
class costs the import of the whole SDK (docs/channels/feishu.md has the numbers);
the tests hold this codec against that class in both directions.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

CONTROL, DATA = 0, 1
_VARINT, _LENGTH = 0, 2
_SIGN = 1 << 64


class BadFrame(ValueError):
    """The bytes are not a frame."""


@dataclass(slots=True, kw_only=True)
class Frame:
    """One frame. `method` is CONTROL or DATA; `headers` say the rest."""

    seq_id: int = 0
    log_id: int = 0
    service: int = 0
    method: int = CONTROL
    headers: dict[str, str] = field(default_factory=dict)
    payload_encoding: str = ""
    payload_type: str = ""
    payload: bytes = b""
    log_id_new: str = ""


def encode(frame: Frame) -> bytes:
    """The bytes of `frame`; the four required numbers always, the optional fields where they hold something."""
    out = bytearray()
    for number, value in enumerate((frame.seq_id, frame.log_id, frame.service, frame.method), start=1):
        out.append(number << 3 | _VARINT)
        out += _varint(value % _SIGN)
    for key, text in frame.headers.items():
        out += _block(5, _block(1, key.encode()) + _block(2, text.encode()))
    for number, text in ((6, frame.payload_encoding), (7, frame.payload_type)):
        if text:
            out += _block(number, text.encode())
    if frame.payload:
        out += _block(8, frame.payload)
    if frame.log_id_new:
        out += _block(9, frame.log_id_new.encode())
    return bytes(out)


def decode(data: bytes) -> Frame:
    """The frame in `data`; unknown fields are skipped. Raises BadFrame."""
    frame = Frame()
    seen = set()
    for number, value in _fields(data):
        seen.add(number)
        if isinstance(value, int):
            _put_number(frame, number, value)
        elif number == 5:
            key, text = _header(value)
            frame.headers[key] = text
        else:
            _put_bytes(frame, number, value)
    if not {1, 2, 3, 4} <= seen:
        raise BadFrame("a required field is missing")
    return frame


def _put_number(frame: Frame, number: int, value: int) -> None:
    signed = value - _SIGN if value >= _SIGN >> 1 else value
    if number == 1:
        frame.seq_id = value
    elif number == 2:
        frame.log_id = value
    elif number == 3:
        frame.service = signed
    elif number == 4:
        frame.method = signed


def _put_bytes(frame: Frame, number: int, value: bytes) -> None:
    if number == 8:
        frame.payload = value
    elif number == 6:
        frame.payload_encoding = _text(value)
    elif number == 7:
        frame.payload_type = _text(value)
    elif number == 9:
        frame.log_id_new = _text(value)


def _header(data: bytes) -> tuple[str, str]:
    parts = {number: value for number, value in _fields(data) if isinstance(value, bytes)}
    if not {1, 2} <= parts.keys():
        raise BadFrame("a header lacks its key or value")
    return _text(parts[1]), _text(parts[2])


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise BadFrame("a text is not UTF-8") from None


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _read(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read(data, at)
            yield tag >> 3, value
            continue
        if kind not in (1, _LENGTH, 5):
            raise BadFrame(f"wire type {kind}")
        size, at = _read(data, at) if kind == _LENGTH else (8 if kind == 1 else 4, at)
        if at + size > len(data):
            raise BadFrame("cut short")
        if kind == _LENGTH:
            yield tag >> 3, data[at : at + size]
        at += size


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise BadFrame("a number is cut short or too long")
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value % _SIGN, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _block(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(data)) + data

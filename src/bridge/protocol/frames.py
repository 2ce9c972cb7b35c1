"""The envelope of the tunnel: what a frame is, reading and writing one, and what a machine wants done.

Text frames `{"type", "id", "payload"}`, with `token` beside an AUTH and `ctl` and `sig` beside an MCP_REQUEST.
Unknown keys are ignored. It knows no socket and no state.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import orjson

from bridge.errors import BadParameters, BridgeError, Effect, from_code

JsonObject: TypeAlias = dict[str, Any]

PROTOCOL = 1
AUTH_BYTES = 64 * 1024
AUTH_SECONDS = 10.0
HEARTBEAT_SECONDS = 15.0
DEAD_SECONDS = 40.0
INLINE_BYTES = 256 * 1024
"""A response of more UTF-8 bytes than this goes in chunks."""
CHUNK_BYTES = 128 * 1024
CALL_CREDIT = 1024 * 1024
CONNECTION_CREDIT = 4 * 1024 * 1024
PROGRESS_SECONDS = 0.25
IN_FLIGHT_PAGE = 500
MAX_FRAME_BYTES = 4 * 1024 * 1024
FRAME_ROOM = 1024
"""What a frame takes beside its payload, at most."""
MAX_ID_CHARS = 128

NOT_AUTHENTICATED, AUTH_TIMEOUT, FORBIDDEN, INCOMPATIBLE, REPLACED = 4501, 4502, 4503, 4505, 4509
RATE, BINARY, GOING_AWAY, NORMAL = 4029, 1003, 1001, 1000
FINAL_CLOSES = {
    NOT_AUTHENTICATED: "the gateway does not accept the token",
    FORBIDDEN: "the token may not open a tunnel",
    INCOMPATIBLE: "the gateway speaks no version of the tunnel that this bridge knows",
    REPLACED: "another bridge with the same id has taken this one's place",
}
"""Closes after which a bridge does not come back by itself, and why."""

TYPES = frozenset({
    "AUTH", "PING", "TOOLS", "MCP_REQUEST", "PROGRESS", "MCP_RESPONSE", "CHUNK", "WINDOW", "ACK", "CANCEL",
    "GOAWAY", "ERROR", "GRANTS",
})  # fmt: skip


@dataclass(slots=True)
class Frame:
    """One frame as it came. `size` is its length in characters."""

    type: str
    id: str | None = None
    payload: JsonObject = field(default_factory=dict)
    token: Any = None
    control: JsonObject | None = None
    signature: str | None = None
    must_understand: bool = False
    size: int = 0


def decode(text: str | bytes) -> Frame:
    """Read one frame. Raises BadParameters for what is no JSON object with a `type`, or has members of a wrong kind."""
    try:
        value = orjson.loads(text)
    except (orjson.JSONDecodeError, UnicodeEncodeError) as error:
        raise BadParameters("a frame is one JSON object") from error
    if type(value) is not dict:
        raise BadParameters("a frame is one JSON object")
    kind, frame_id, payload = value.get("type"), value.get("id"), value.get("payload")
    if type(kind) is not str:
        raise BadParameters("a frame has a 'type'")
    if frame_id is not None and (type(frame_id) is not str or not 0 < len(frame_id) <= MAX_ID_CHARS):
        raise BadParameters(f"'id' is a text of 1 to {MAX_ID_CHARS} characters")
    if payload is None:
        payload = {}
    elif type(payload) is not dict:
        raise BadParameters("'payload' is an object")
    control, signature = value.get("ctl"), value.get("sig")
    if (control is not None and type(control) is not dict) or (signature is not None and type(signature) is not str):
        raise BadParameters("'ctl' is an object, 'sig' a text")
    must = value.get("must_understand") is True
    return Frame(kind, frame_id, payload, value.get("token"), control, signature, must, len(text))


def encode(kind: str, frame_id: str | None = None, payload: Any = None, **beside: Any) -> bytes:
    """Write one frame; None members are left out. Raises BadParameters for what is no JSON."""
    frame: JsonObject = {"type": kind}
    if frame_id is not None:
        frame["id"] = frame_id
    if payload is not None:
        frame["payload"] = payload
    for name, value in beside.items():
        if value is not None:
            frame[name] = value
    try:
        return orjson.dumps(frame)
    except (orjson.JSONEncodeError, RecursionError) as error:
        raise BadParameters("what is sent must be plain JSON") from error


def answer_frame(call_id: str, payload: bytes, kind: Literal["MCP_RESPONSE", "ERROR"] = "MCP_RESPONSE") -> bytes:
    """The frame that ends a call, around a payload that is JSON already."""
    return b'{"type":"%s","id":%s,"payload":%s}' % (kind.encode(), orjson.dumps(call_id), payload)


def error_payload(
    code: int, message: str, *, scope: Literal["call", "connection"], retryable: bool = False, effect: Effect = "none",
    retry_after_ms: int | None = None,
) -> JsonObject:  # fmt: skip
    """The payload of `ERROR`."""
    payload: JsonObject = {
        "code": code, "message": message, "scope": scope, "retryable": retryable, "effect": effect
    }  # fmt: skip
    if retry_after_ms is not None:
        payload["retry_after_ms"] = retry_after_ms
    return payload


def error_frame(error: BridgeError, call_id: str | None = None) -> bytes:
    """An `ERROR`: with an id it ends that call, without it concerns the connection or one refused frame."""
    scope: Literal["call", "connection"] = "connection" if call_id is None else "call"
    payload = error_payload(
        error.code, error.message, scope=scope, retryable=error.retryable, effect=error.effect,
        retry_after_ms=error.retry_after_ms,
    )  # fmt: skip
    return encode("ERROR", call_id, payload)


def read_error(payload: Mapping[str, Any]) -> BridgeError:
    """The error that an `ERROR` carries; what is missing or odd in it becomes careful defaults."""
    code, message, effect = payload.get("code"), payload.get("message"), payload.get("effect")
    retry = payload.get("retry_after_ms")
    return from_code(
        code if type(code) is int else 1007,
        message[:1000] if type(message) is str else "",
        retry_after_ms=retry if type(retry) is int and retry >= 0 else None,
        effect=effect if effect in ("none", "unknown", "done") else "unknown",
    )


# ---------------------------------------------------------------- what a machine wants done


@dataclass(slots=True)
class Send:
    """Send this text frame; one that is not `urgent` may wait some milliseconds for others to go with."""

    data: bytes
    urgent: bool = True


@dataclass(slots=True)
class Close:
    """Close the socket with this code."""

    code: int
    reason: str = ""

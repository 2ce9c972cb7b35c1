"""The first frame of a tunnel, as the gateway reads it: who dials, and which version is spoken.

Pure: text in, a `Hello` or a `Refusal` out. Whether the token is good is asked elsewhere.
"""

from dataclasses import dataclass, field
from typing import Any

from bridge.errors import BadParameters, BridgeError, NotAuthenticated
from bridge.protocol.frames import (
    IN_FLIGHT_PAGE,
    INCOMPATIBLE,
    MAX_ID_CHARS,
    NOT_AUTHENTICATED,
    PROTOCOL,
    Frame,
    JsonObject,
    decode,
)  # fmt: skip


class Refusal(Exception):
    """The connection is refused: an `ERROR` with `error`, then a close with `close`."""

    def __init__(self, error: BridgeError, close: int) -> None:
        super().__init__(error.message)
        self.error = error
        self.close = close


@dataclass(slots=True)
class Hello:
    """An AUTH of a bridge. Absent members are None; what it claims about itself carries no authority."""

    token: str
    frame_id: str | None = None
    bridge_id: str | None = None
    boot_id: str | None = None
    name: str | None = None
    client: JsonObject = field(default_factory=dict)
    in_flight: list[tuple[str, str]] = field(default_factory=list)


def read_hello(text: str | bytes) -> Hello:
    """The first frame. Raises Refusal: 4501 where it is no AUTH with a token, 4505 without a common version."""
    try:
        frame = decode(text)
    except BadParameters as error:
        raise Refusal(NotAuthenticated("the first frame must be AUTH"), NOT_AUTHENTICATED) from error
    if frame.type != "AUTH":
        raise Refusal(NotAuthenticated("the first frame must be AUTH"), NOT_AUTHENTICATED)
    return hello_of(frame)


def hello_of(frame: Frame) -> Hello:
    """What an AUTH frame says, a later one too. Raises Refusal."""
    token = frame.token
    if type(token) is not str or not token.strip() or not token.isascii():
        raise Refusal(NotAuthenticated("AUTH needs a 'token'"), NOT_AUTHENTICATED)
    payload = frame.payload
    _check_version(payload.get("protocol"))
    client = payload.get("client")
    return Hello(
        token=token,
        frame_id=frame.id,
        bridge_id=_text(payload.get("bridge_id"), MAX_ID_CHARS),
        boot_id=_text(payload.get("boot_id"), MAX_ID_CHARS),
        name=_text(payload.get("name"), 64),
        client={k: v[:64] for k, v in client.items() if type(v) is str and k in ("name", "version", "os")}
        if type(client) is dict
        else {},
        in_flight=_in_flight(payload.get("in_flight")),
    )


def _check_version(offered: Any) -> None:
    """Without `protocol` it is version 1."""
    if offered is None:
        return
    low, high = (offered.get("min"), offered.get("max")) if type(offered) is dict else (None, None)
    if type(low) is not int or type(high) is not int or not low <= PROTOCOL <= high:
        raise Refusal(BadParameters(f"this gateway speaks version {PROTOCOL} of the tunnel"), INCOMPATIBLE)


def _text(value: Any, longest: int) -> str | None:
    if type(value) is not str or not value.strip() or not value.isprintable():
        return None
    return value[:longest]


def _in_flight(value: Any) -> list[tuple[str, str]]:
    if type(value) is not list:
        return []
    found = []
    for item in value[:IN_FLIGHT_PAGE]:
        if type(item) is dict and type(item.get("id")) is str and item.get("state") in ("running", "done"):
            found.append((item["id"][:MAX_ID_CHARS], item["state"]))
    return found

"""What the bridge's side of the tunnel says about itself, and what it wants done. Data only."""

from dataclasses import dataclass
from typing import TypeAlias

from bridge.errors import BadParameters, BridgeError
from bridge.protocol.frames import Close, JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class BridgeIdentity:
    """What a bridge says about itself. `bridge_id` stays, `boot_id` is new with every start."""

    bridge_id: str
    boot_id: str
    name: str
    client: JsonObject


@dataclass(slots=True)
class Welcome:
    """The gateway accepted the token; again for every AUTH that was sent. `first` of this connection?"""

    first: bool
    max_result_bytes: int


@dataclass(slots=True)
class Requested:
    """A signed call. Its members are of the right kinds; `remaining` is the deadline in seconds."""

    id: str
    method: str
    params: JsonObject
    key: str
    attempt: int
    remaining: float
    actor: JsonObject
    confirm: JsonObject | None
    answer: JsonObject | None
    server: str | None
    traceparent: str | None
    arguments_sha256: str


@dataclass(slots=True)
class Cancelled:
    id: str
    reason: str


@dataclass(slots=True)
class Acknowledged:
    id: str


@dataclass(slots=True)
class GoAway:
    reason: str
    reconnect_after_ms: int


@dataclass(slots=True)
class Complaint:
    """The gateway's `ERROR` about this connection or one frame."""

    error: BridgeError


@dataclass(slots=True)
class GrantsRevoked:
    """What the user took back: `[{"user", "tool", "session_key"?}]`."""

    grants: list[JsonObject]


BridgeEffect: TypeAlias = Close | Welcome | Requested | Cancelled | Acknowledged | GoAway | Complaint | GrantsRevoked


def requested(call_id: str, request: JsonObject, control: JsonObject, attempt: int, hashed: str) -> Requested:
    """The call in a signed frame. Raises BadParameters."""
    params = request.get("params")
    key, deadline, actor = control.get("idempotency_key"), control.get("deadline_ms"), control.get("actor")
    confirm, answer, server = control.get("confirm"), control.get("answer"), control.get("server")
    trace = control.get("traceparent")
    right = (
        type(params) is dict and type(params.get("arguments", {})) is dict and attempt >= 1
        and type(request.get("method")) is str
        and type(key) is str and 0 < len(key) <= 512
        and type(deadline) is int
        and type(actor) is dict and type(actor.get("user")) is str
        and (confirm is None or type(confirm) is dict)
        and (answer is None or type(answer) is dict)
        and (server is None or type(server) is str)
    )  # fmt: skip
    if not right:
        raise BadParameters("the call lacks a member, or one is of the wrong kind")
    assert isinstance(params, dict) and isinstance(key, str) and isinstance(actor, dict) and isinstance(deadline, int)
    return Requested(
        call_id, request["method"], params, key, attempt, deadline / 1000, actor, confirm, answer, server,
        trace if type(trace) is str else None, hashed,
    )  # fmt: skip

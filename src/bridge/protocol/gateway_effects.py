"""What the gateway's side of the tunnel is given, and what it wants done.

Limits, calls, effects, one connection's state: hardly more than data; `gateway_side.py` is the machine that uses it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import orjson

from bridge.errors import BridgeError, RateLimited
from bridge.protocol.flow import Assembler
from bridge.protocol.frames import (
    CALL_CREDIT,
    HEARTBEAT_SECONDS,
    MAX_FRAME_BYTES,
    RATE,
    Close,
    JsonObject,
    Send,
    error_frame,
)  # fmt: skip
from bridge.protocol.quota import Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What AUTH tells the bridge, and how many frames a second it may send that nobody asked for."""

    max_in_flight: int = 128
    max_queued: int = 1000
    max_result_bytes: int = 32 * 1024 * 1024
    max_frame_bytes: int = MAX_FRAME_BYTES
    unasked_per_second: float = 500.0
    unasked_burst: float = 2000.0

    def public(self) -> JsonObject:
        return {
            "max_frame_bytes": self.max_frame_bytes, "max_in_flight": self.max_in_flight,
            "window_bytes": CALL_CREDIT, "max_result_bytes": self.max_result_bytes,
        }  # fmt: skip


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """A call for the bridge. `remaining` gives the seconds left of its deadline whenever it is sent (again)."""

    id: str
    method: str
    params: JsonObject
    actor: JsonObject
    idempotency_key: str
    remaining: Callable[[], float]
    arguments_sha256: str = ""
    server: str | None = None
    traceparent: str | None = None
    repeated: bool = False
    confirm: JsonObject | None = None
    answer: JsonObject | None = None
    fresh_chunks: bool = False
    sent: bool = False


@dataclass(slots=True)
class Answered:
    """The server's own JSON-RPC answer to a call: `{"result"}` or `{"error"}`."""

    id: str
    payload: JsonObject


@dataclass(slots=True)
class Failed:
    """A call ended without an answer of the server."""

    id: str
    error: BridgeError


@dataclass(slots=True)
class Progressed:
    id: str
    payload: JsonObject


@dataclass(slots=True)
class Catalogue:
    payload: JsonObject


@dataclass(slots=True)
class Suspicious:
    """Something for the audit log."""

    what: str
    detail: JsonObject


@dataclass(slots=True)
class Leaving:
    """The bridge goes away on purpose (`GOAWAY`)."""

    reason: str


GatewayEffect: TypeAlias = Send | Close | Answered | Failed | Progressed | Catalogue | Suspicious | Leaving


@dataclass(slots=True)
class Link:
    """What belongs to one connection."""

    epoch: int
    key_text: str
    key: bytes
    session_id: str
    assembler: Assembler
    heard: float
    pinged: float
    quota: Quota
    strangers: int = 0
    leaving: bool = False

    def welcome(self, bridge_id: str, limits: Limits) -> JsonObject:
        """What the answer to AUTH says, but for the calls."""
        return {
            "ok": True, "bridge_id": bridge_id, "session_id": self.session_id, "epoch": self.epoch,
            "heartbeat_ms": int(HEARTBEAT_SECONDS * 1000), "sign_key": self.key_text, "limits": limits.public(),
        }  # fmt: skip

    def refusal(self, now: float, cost: float) -> list[GatewayEffect] | None:
        """None while the bridge keeps to its share of unasked frames; else what to do instead of reading this one."""
        match self.quota.take(now, cost):
            case "ok":
                return None
            case "first":
                error = RateLimited("too many frames", retry_after_ms=1000)
                return [Send(error_frame(error)), Suspicious("tunnel.flood", {})]
            case "drop":
                return []
            case "enough":
                return [Close(RATE, "too many frames")]


def acknowledge(call_id: str) -> Send:
    """The answer of this call has come."""
    return Send(b'{"type":"ACK","payload":{"of":%s}}' % orjson.dumps(call_id), urgent=False)

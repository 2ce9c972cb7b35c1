"""The bridge's side of one connection: a machine without a socket.

`receive` and `tick` advance it; what is to be sent is pulled with `next_frame`, small frames first, large answers
in fair turns. It authenticates, checks the signature of every call, holds progress to four a second, and keeps
answers in the shared `Outbox` until they are acknowledged. The shell is `bridge/tunnel.py`; whether a call may
run is decided in `bridge/calls.py`. `now` is monotonic seconds.
"""

import hmac
from collections import deque
from collections.abc import Callable
from typing import Any

import orjson

from bridge.errors import BadParameters, BridgeError, SignatureInvalid
from bridge.protocol.bridge_effects import (
    Acknowledged,
    BridgeEffect,
    BridgeIdentity,
    Cancelled,
    Complaint,
    GoAway,
    GrantsRevoked,
    Welcome,
    requested,
)  # fmt: skip
from bridge.protocol.canonical import arguments_hash, decode_key, signature
from bridge.protocol.flow import Chunker
from bridge.protocol.frames import (
    DEAD_SECONDS,
    FRAME_ROOM,
    GOING_AWAY,
    HEARTBEAT_SECONDS,
    IN_FLIGHT_PAGE,
    INLINE_BYTES,
    MAX_FRAME_BYTES,
    PROGRESS_SECONDS,
    PROTOCOL,
    TYPES,
    Close,
    Frame,
    JsonObject,
    answer_frame,
    encode,
    error_frame,
    error_payload,
    read_error,
)  # fmt: skip
from bridge.protocol.outbox import Answer, Outbox

DEFAULT_MAX_RESULT = 32 * 1024 * 1024


class BridgeLink:
    """One connection of a bridge."""

    def __init__(self, identity: BridgeIdentity, token: str, outbox: Outbox, now: float) -> None:
        self.live = False
        self.epoch = 0
        self.bridge_id = identity.bridge_id
        self.max_frame_bytes = MAX_FRAME_BYTES
        self._largest = MAX_FRAME_BYTES
        """The longest frame that the gateway takes."""
        self._identity = identity
        self._token = token
        self._outbox = outbox
        self._key = b""
        self._frames: deque[bytes] = deque()
        self._answers: deque[str] = deque()
        self._chunks = Chunker()
        self._progress: dict[str, tuple[float, JsonObject | None]] = {}
        self._heartbeat = HEARTBEAT_SECONDS
        self._heard = self._pinged = now
        self._handlers: dict[str, Callable[[Frame, float], list[BridgeEffect]]] = {
            "MCP_REQUEST": self._request, "ACK": self._ack, "WINDOW": self._window, "CANCEL": self._cancel,
            "PING": self._ping, "AUTH": self._welcome, "GOAWAY": self._goaway, "ERROR": self._error,
            "GRANTS": self._grants,
        }  # fmt: skip

    # ------------------------------------------------------------ to be sent

    def authenticate(self, token: str | None = None) -> None:
        """AUTH, with what is under way; with `token`, the new one, on a live connection."""
        self._token = token or self._token
        listed = self._outbox.in_flight()
        pages = [listed[at : at + IN_FLIGHT_PAGE] for at in range(0, len(listed), IN_FLIGHT_PAGE)] or [[]]
        me = self._identity
        for number, page in enumerate(pages):
            payload = {
                "protocol": {"min": PROTOCOL, "max": PROTOCOL}, "bridge_id": me.bridge_id, "boot_id": me.boot_id,
                "name": me.name, "client": me.client, "in_flight": page,
            }  # fmt: skip
            self._frames.append(encode("AUTH", f"auth-{number}", payload, token=self._token))

    def tools(self, catalogue: JsonObject) -> None:
        """Announce the catalogue."""
        self._frames.append(encode("TOOLS", None, catalogue))

    def answer(self, call_id: str) -> None:
        """The outbox has an answer to this call: send it."""
        self._progress.pop(call_id, None)
        if self.live:
            self._answers.append(call_id)

    def progress(self, call_id: str, payload: JsonObject, now: float) -> None:
        """Tell how a call goes: at most four a second, the latest wins."""
        if not self.live:
            return
        last, _ = self._progress.get(call_id, (-1.0, None))
        if now - last >= PROGRESS_SECONDS:
            self._progress[call_id] = (now, None)
            self._frames.append(encode("PROGRESS", call_id, payload))
        else:
            self._progress[call_id] = (last, payload)

    def refuse(self, error: BridgeError) -> None:
        """Send an `ERROR` that is not kept: about a frame, not the end of a call."""
        self._frames.append(error_frame(error))

    def goaway(self, reason: str) -> None:
        self._frames.append(encode("GOAWAY", None, {"reason": reason, "reconnect_after_ms": 0}))

    @property
    def waiting(self) -> int:
        """How much there may be to send, in frames and large answers."""
        return len(self._frames) + len(self._answers) + len(self._chunks)

    def next_frame(self) -> bytes | None:
        """The next frame to send, or None where nothing waits or credit is out."""
        if self._frames:
            return self._frames.popleft()
        while self._answers:
            call_id = self._answers.popleft()
            answer = self._outbox.answers.get(call_id)
            if answer is None:
                continue
            if answer.kind == "ERROR":
                return answer_frame(call_id, answer.payload, "ERROR")
            if len(answer.payload) <= min(INLINE_BYTES, self._largest - FRAME_ROOM):
                return answer_frame(call_id, answer.payload)
            self._chunks.add(call_id, answer.payload)
        return self._chunks.next()

    # ------------------------------------------------------------ time

    def tick(self, now: float) -> list[BridgeEffect]:
        """Heartbeat and held-back progress."""
        if now - self._heard >= DEAD_SECONDS:
            return [Close(GOING_AWAY, "no sign of life")]
        if self.live and now - self._pinged >= self._heartbeat:
            self._pinged = now
            self._frames.append(encode("PING", None, {"t": int(now * 1000)}))
        for call_id, (last, payload) in list(self._progress.items()):
            if payload is not None and now - last >= PROGRESS_SECONDS:
                self._progress[call_id] = (now, None)
                self._frames.append(encode("PROGRESS", call_id, payload))
        return []

    def next_tick(self, now: float) -> float:
        """Seconds until `tick` has something to do."""
        due = min(self._heard + DEAD_SECONDS, self._pinged + self._heartbeat if self.live else now + DEAD_SECONDS)
        for last, payload in self._progress.values():
            if payload is not None:
                due = min(due, last + PROGRESS_SECONDS)
        return max(0.0, due - now)

    # ------------------------------------------------------------ from the gateway

    def receive(self, frame: Frame, now: float) -> list[BridgeEffect]:
        """Advance on one frame."""
        self._heard = now
        handler = self._handlers.get(frame.type)
        if handler is None:
            if frame.must_understand and frame.type not in TYPES:
                self.refuse(BadParameters(f"unknown frame type '{frame.type[:64]}'"))
            return []
        if not self.live and frame.type not in ("AUTH", "ERROR", "GOAWAY", "PING"):
            return []
        return handler(frame, now)

    def _welcome(self, frame: Frame, now: float) -> list[BridgeEffect]:
        payload = frame.payload
        if payload.get("ok") is not True:
            return [Complaint(read_error(payload))]
        first = not self.live
        if first:
            self._key = decode_key(payload.get("sign_key") or "")
            self.epoch = payload["epoch"] if type(payload.get("epoch")) is int else 0
            self.bridge_id = str(payload.get("bridge_id") or self._identity.bridge_id)
            self._heartbeat = _between(payload.get("heartbeat_ms"), 1_000, 30_000, 15_000) / 1000
            self._pinged = now
            self.live = True
        told = payload.get("limits")
        limits = told if isinstance(told, dict) else {}
        self._largest = _between(limits.get("max_frame_bytes"), 2 * FRAME_ROOM, MAX_FRAME_BYTES, MAX_FRAME_BYTES)
        self._chunks.largest_frame = self._largest
        longest = _between(limits.get("max_result_bytes"), 1, 2**40, DEFAULT_MAX_RESULT)
        effects: list[BridgeEffect] = [Welcome(first, longest)]
        for call_id in _texts(payload.get("forget")):
            effects.append(self._acknowledged(call_id))
        for call_id in _texts(payload.get("cancel")):
            effects.append(Cancelled(call_id, "nobody awaits this call"))
        if first:
            self._answers.extend(self._outbox.answers)
        return effects

    def _request(self, frame: Frame, now: float) -> list[BridgeEffect]:
        control, call_id = frame.control, frame.id
        if control is None or frame.signature is None or call_id is None:
            self.refuse(SignatureInvalid("a call must be signed"))
            return []
        try:
            hashed = arguments_hash((frame.payload.get("params") or {}).get("arguments"))
            expected = signature(self._key, call_id, self.bridge_id, frame.payload, control, hashed)
        except BadParameters as error:
            self.refuse(error)
            return []
        except AttributeError:
            self.refuse(BadParameters("the call's 'params' are no object"))
            return []
        if not hmac.compare_digest(expected.encode(), frame.signature.encode(errors="replace")):
            self.refuse(SignatureInvalid())
            return []
        attempt = control.get("attempt")
        if control.get("epoch") != self.epoch or type(control.get("epoch")) is not int:
            self.refuse(SignatureInvalid("the call is of another connection"))
            return []
        if type(attempt) is not int or not self._outbox.first_time(self.epoch, call_id, attempt):
            self.refuse(SignatureInvalid("this call was seen before"))
            return []
        try:
            return [requested(call_id, frame.payload, control, attempt, hashed)]
        except BadParameters as error:
            if call_id in self._outbox.running or call_id in self._outbox.answers:
                self.refuse(error)
            else:  # this ends the call, so it is kept like any other answer
                payload = error_payload(error.code, error.message, scope="call")
                self._outbox.answers[call_id] = Answer("ERROR", orjson.dumps(payload))
                self._answers.append(call_id)
            return []

    def _ack(self, frame: Frame, now: float) -> list[BridgeEffect]:
        of = frame.payload.get("of")
        return [self._acknowledged(of)] if type(of) is str else []

    def _acknowledged(self, call_id: str) -> BridgeEffect:
        self._chunks.drop(call_id)
        self._outbox.answers.pop(call_id, None)
        return Acknowledged(call_id)

    def _window(self, frame: Frame, now: float) -> list[BridgeEffect]:
        credit = frame.payload.get("credit")
        if type(credit) is int and 0 < credit <= 2**40:
            self._chunks.grant(frame.id, credit)
        return []

    def _cancel(self, frame: Frame, now: float) -> list[BridgeEffect]:
        if frame.id is None:
            return []
        return [Cancelled(frame.id, str(frame.payload.get("reason", ""))[:200])]

    def _ping(self, frame: Frame, now: float) -> list[BridgeEffect]:
        if frame.payload.get("pong") is not True:
            self._frames.appendleft(encode("PING", frame.id, {"t": frame.payload.get("t"), "pong": True}))
        return []

    def _goaway(self, frame: Frame, now: float) -> list[BridgeEffect]:
        after = _between(frame.payload.get("reconnect_after_ms"), 0, 300_000, 0)
        return [GoAway(str(frame.payload.get("reason", "drain"))[:64], after)]

    def _error(self, frame: Frame, now: float) -> list[BridgeEffect]:
        if frame.id is not None and frame.id in self._outbox.answers:
            return [self._acknowledged(frame.id)]
        return [Complaint(read_error(frame.payload))]

    def _grants(self, frame: Frame, now: float) -> list[BridgeEffect]:
        revoke = frame.payload.get("revoke")
        return [GrantsRevoked([item for item in revoke if type(item) is dict])] if type(revoke) is list else []


def _between(value: Any, low: int, high: int, otherwise: int) -> int:
    return max(low, min(high, value)) if type(value) is int else otherwise


def _texts(value: Any) -> list[str]:
    return [item for item in value if type(item) is str] if type(value) is list else []

"""The gateway's side of one bridge's tunnel: a machine that outlives its connections.

`receive` takes a frame and the time (monotonic) and returns what to do; so do the calls from above. It signs and sends
calls, again on a new connection, joins chunks, knows which ids this bridge was ever sent, and fences older connections
by their epoch. The shell (`gateway/tunnel`) performs the effects, checks tokens and asks people.
"""

import orjson

from bridge.errors import BadParameters, BridgeError, RateLimited, ToolResultInvalid
from bridge.protocol.canonical import decode_key
from bridge.protocol.flow import Assembler
from bridge.protocol.frames import (
    DEAD_SECONDS,
    GOING_AWAY,
    HEARTBEAT_SECONDS,
    RATE,
    TYPES,
    Close,
    Frame,
    JsonObject,
    Send,
    encode,
    error_frame,
    read_error,
)  # fmt: skip
from bridge.protocol.gateway_calls import CallBook
from bridge.protocol.gateway_effects import (
    Answered,
    Catalogue,
    Failed,
    GatewayEffect,
    Leaving,
    Limits,
    Link,
    Outgoing,
    Progressed,
    Suspicious,
    acknowledge,
)  # fmt: skip
from bridge.protocol.hello import Hello
from bridge.protocol.orphans import Orphans
from bridge.protocol.quota import Quota, cost_of


class GatewaySession:
    """One bridge as the gateway sees it."""

    __slots__ = ("_book", "_orphans", "bridge_id", "latency_ms", "limits")

    def __init__(self, bridge_id: str, limits: Limits | None = None) -> None:
        self.bridge_id = bridge_id
        self.limits = limits or Limits()
        self.latency_ms: float | None = None
        self._book = CallBook(bridge_id, self.limits)
        self._orphans = Orphans()

    @property
    def epoch(self) -> int | None:
        """Of the live connection, or None."""
        return self._book.link.epoch if self._book.link else None

    @property
    def leaving(self) -> bool:
        return self._book.link is not None and self._book.link.leaving

    @property
    def waiting(self) -> int:
        """Calls that are awaited."""
        return len(self._book.awaited)

    def reached(self, call_id: str) -> bool:
        """Whether this call may have come to the bridge."""
        call = self._book.awaited.get(call_id)
        return call is not None and (call.sent or call.repeated)

    # ------------------------------------------------------------ connections

    def attach(self, hello: Hello, *, epoch: int, key: str, session_id: str, now: float) -> list[GatewayEffect]:
        """A connection was authenticated and takes over: the AUTH answer, and every call that has to go again."""
        self._book.link = Link(
            epoch, key, decode_key(key), session_id, Assembler(self.limits.max_result_bytes), now, now,
            Quota(self.limits.unasked_per_second, self.limits.unasked_burst, now),
        )  # fmt: skip
        return [*self.refresh(hello, now), *self._book.resend({call_id for call_id, _ in hello.in_flight})]

    def refresh(self, hello: Hello, now: float) -> list[GatewayEffect]:
        """An AUTH on a live connection (a token rotated, a further page of calls): epoch and key stay."""
        link = self._book.link
        if link is None:
            return []
        link.heard = now
        forget: list[str] = []
        cancel: list[str] = []
        for call_id, state in hello.in_flight:
            if call_id in self._book.awaited:
                continue
            if self._book.was_sent(call_id):
                (forget if state == "done" else cancel).append(call_id)
            else:
                self._orphans.found(call_id, state, now)
        payload = {**link.welcome(self.bridge_id, self.limits), "forget": forget, "cancel": cancel}
        return [Send(encode("AUTH", hello.frame_id or link.session_id, payload))]

    def detach(self, epoch: int) -> None:
        """The connection with this epoch is gone; awaited calls wait for the next one."""
        if self._book.link is not None and self._book.link.epoch == epoch:
            self._book.link = None

    # ------------------------------------------------------------ from above

    def call(self, call: Outgoing, now: float) -> list[GatewayEffect]:
        """Send a call, now or on the next connection.

        Raises Overloaded where too many wait, BadParameters for arguments that can't be signed.
        """
        call.fresh_chunks = self._orphans.claim(call.id)
        return list(self._book.add(call, there=call.fresh_chunks))

    def tell(
        self, call_id: str, *, confirm: JsonObject | None = None, answer: JsonObject | None = None
    ) -> list[GatewayEffect]:
        """A person answered: the call goes again, with the decision or the answer in it."""
        call = self._book.awaited.get(call_id)
        if call is None:
            return []
        if confirm is not None:
            call.confirm = confirm
        call.answer = answer
        return list(self._book.transmit(call))

    def cancel(self, call_id: str, reason: str) -> list[GatewayEffect]:
        """Nobody awaits this call any more: tell the bridge, and go on with the next that waits."""
        call = self._book.awaited.get(call_id)
        if call is None:
            return []
        effects: list[GatewayEffect] = []
        if call.sent and self._book.link is not None:
            effects.append(Send(encode("CANCEL", call_id, {"reason": reason})))
        return [*effects, *self._book.end(call_id)]

    def revoke_grants(self, grants: list[JsonObject]) -> list[GatewayEffect]:
        """Tell the bridge what its user no longer allows; nothing where it is away."""
        return [Send(encode("GRANTS", None, {"revoke": grants}))] if self._book.link else []

    def goaway(self, reason: str, reconnect_after_ms: int) -> list[GatewayEffect]:
        payload = {"reason": reason, "reconnect_after_ms": reconnect_after_ms}
        return [Send(encode("GOAWAY", None, payload))] if self._book.link else []

    def tick(self, now: float) -> list[GatewayEffect]:
        """Heartbeat and things that got too old; to be called about once a second."""
        link = self._book.link
        if link is None:
            return []
        if now - link.heard >= DEAD_SECONDS:
            return [Close(GOING_AWAY, "no sign of life")]
        effects: list[GatewayEffect] = []
        if now - link.pinged >= HEARTBEAT_SECONDS:
            link.pinged = now
            effects.append(Send(encode("PING", None, {"t": int(now * 1_000_000)})))
        for call_id, state in self._orphans.late(now):
            self._book.remember(call_id, 0)
            if state == "running":
                effects.append(Send(encode("CANCEL", call_id, {"reason": "nobody awaits this call"})))
            else:
                effects.append(acknowledge(call_id))
        return effects

    # ------------------------------------------------------------ from the bridge

    def receive(self, frame: Frame, epoch: int, now: float) -> list[GatewayEffect]:
        """Advance on one frame of the connection `epoch` (AUTH frames go to `refresh`)."""
        link = self._book.link
        if link is None or link.epoch != epoch:
            return []
        link.heard = now
        kind = frame.type
        if kind == "MCP_RESPONSE" and frame.id in self._book.active:
            return self._answered(frame.id, frame.payload, frame.size)
        if kind == "CHUNK" and frame.id in self._book.active:
            return self._chunk(link, frame.id, frame.payload)
        refused = link.refusal(now, cost_of(frame))
        if refused is not None:
            return refused
        if kind == "PROGRESS" and frame.id in self._book.active:
            return [Progressed(frame.id, frame.payload)]
        if kind == "ERROR" and frame.id in self._book.active:
            error = read_error(frame.payload)
            return [*self._dropped(frame.id), acknowledge(frame.id), Failed(frame.id, error), *self._book.end(frame.id)]
        if kind in ("MCP_RESPONSE", "CHUNK", "PROGRESS", "ERROR") and frame.id is not None:
            return self._unawaited(link, frame)
        if kind == "PING":
            return self._ping(frame, now)
        if kind == "TOOLS":
            return [Catalogue(frame.payload)]
        if kind == "GOAWAY":
            link.leaving = True
            return [Leaving(str(frame.payload.get("reason", ""))[:64])]
        if kind == "ERROR":
            error = read_error(frame.payload)
            return [Suspicious("tunnel.refused", {"code": error.code, "message": error.message})]
        if kind in TYPES or not frame.must_understand:
            return []
        return [Send(error_frame(BadParameters(f"unknown frame type '{kind[:64]}'")))]

    def charge(self, epoch: int, now: float, cost: float) -> list[GatewayEffect] | None:
        """Count a frame that the shell looks after; None where it may."""
        link = self._book.link
        if link is None or link.epoch != epoch:
            return []
        link.heard = now
        return link.refusal(now, cost)

    def bad_frame(self, error: BadParameters, epoch: int, now: float) -> list[GatewayEffect]:
        """A frame that could not be read."""
        link = self._book.link
        if link is None or link.epoch != epoch:
            return []
        link.heard = now
        return link.refusal(now, 50) or [Send(error_frame(error))]

    def _answered(self, call_id: str, payload: JsonObject, size: int) -> list[GatewayEffect]:
        link_effects = self._dropped(call_id)
        if not link_effects and size <= self.limits.max_result_bytes and type(payload.get("result")) is dict:
            return [Answered(call_id, payload), acknowledge(call_id), *self._book.end(call_id)]
        if size > self.limits.max_result_bytes:
            return [*link_effects, *self._invalid(call_id, ToolResultInvalid("the result is too large", effect="done"))]
        if type(payload.get("result")) is not dict and type(payload.get("error")) is not dict:
            error = ToolResultInvalid("the answer is no JSON-RPC response", effect="done")
            return [*link_effects, *self._invalid(call_id, error)]
        return [*link_effects, Answered(call_id, payload), acknowledge(call_id), *self._book.end(call_id)]

    def _chunk(self, link: Link, call_id: str, payload: JsonObject) -> list[GatewayEffect]:
        call = self._book.awaited[call_id]
        if call.fresh_chunks:
            if payload.get("n") != 0:
                return [Send(window) for window in link.assembler.discard(payload.get("data"))]
            call.fresh_chunks = False
        try:
            parts, windows = link.assembler.accept(
                call_id, payload.get("n"), payload.get("last"), payload.get("data")
            )  # fmt: skip
        except BridgeError as error:
            invalid = ToolResultInvalid(error.message, effect="done")
            return [*(Send(w) for w in link.assembler.discard(None)), *self._invalid(call_id, invalid)]
        effects: list[GatewayEffect] = [Send(window) for window in windows]
        if parts is None:
            return effects
        try:
            whole = orjson.loads(b"".join(parts))
        except orjson.JSONDecodeError:
            whole = None
        return [*effects, *self._answered(call_id, whole if type(whole) is dict else {}, 0)]

    def _dropped(self, call_id: str) -> list[Send]:
        """Forget half a response of this call."""
        half = None if self._book.link is None else self._book.link.assembler
        return [Send(window) for window in half.drop(call_id)] if half else []

    def _invalid(self, call_id: str, error: ToolResultInvalid) -> list[GatewayEffect]:
        """An answer that is of no use: the bridge learns why, and sends no more of it."""
        failed = Failed(call_id, error)
        return [Send(error_frame(error, call_id)), acknowledge(call_id), failed, *self._book.end(call_id)]

    def _unawaited(self, link: Link, frame: Frame) -> list[GatewayEffect]:
        call_id = frame.id or ""
        windows: list[GatewayEffect] = []
        if frame.type == "CHUNK":
            windows = [Send(window) for window in link.assembler.discard(frame.payload.get("data"))]
        if call_id in self._orphans:
            if frame.type in ("MCP_RESPONSE", "ERROR"):
                self._orphans.done(call_id)
            return windows
        if self._book.was_sent(call_id):
            return windows if frame.type == "PROGRESS" else [*windows, acknowledge(call_id)]
        link.strangers += 1
        effects: list[GatewayEffect] = [
            Suspicious("tunnel.unknown_id", {"id": call_id, "type": frame.type, "count": link.strangers})
        ]
        if link.strangers >= 3:
            error = RateLimited("answers to calls that this bridge was never sent")
            effects += [Send(error_frame(error)), Close(RATE, "unknown call ids")]
        return effects

    def _ping(self, frame: Frame, now: float) -> list[GatewayEffect]:
        sent = frame.payload.get("t")
        if frame.payload.get("pong") is True:
            if type(sent) is int and 0 <= now * 1_000_000 - sent < 60_000_000:
                self.latency_ms = round(now * 1000 - sent / 1000, 3)
            return []
        return [Send(encode("PING", frame.id, {"t": sent, "pong": True}))]

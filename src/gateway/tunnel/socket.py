"""A bridge's socket, from its AUTH to its end: frames from the wire to the machine, and back.

Nothing but one AUTH frame of 64 KiB at most is read before its token was checked. Above is the endpoint; below,
the directory. What frames mean is the machine's business. There is no task: what a frame leads to is done while it
is read.
"""

import asyncio
import logging
import time

import orjson

from bridge.errors import BridgeError
from bridge.protocol import Refusal, decode, hello_of, read_hello
from bridge.protocol.frames import (
    AUTH_BYTES,
    AUTH_TIMEOUT,
    BINARY,
    FORBIDDEN,
    NOT_AUTHENTICATED,
    error_payload,
)  # fmt: skip
from bus.errors import Forbidden, GatewayError, NotAuthenticated
from gateway.guard import Place
from gateway.packets import text_frame
from gateway.tunnel.directory import Attached, Directory
from gateway.tunnel.ports import Gate, Trail
from gateway.websocket import WebSocket

_IDLE_SECONDS = 0.005
_log = logging.getLogger(__name__)


class BridgeSocket:
    """The owner of a `WebSocket`, and the directory's `Wire`."""

    __slots__ = ("_attached", "_directory", "_gate", "_idle", "_patience", "_peer", "_place", "_trail", "ws")

    def __init__(self, directory: Directory, gate: Gate, trail: Trail, peer: str, place: Place) -> None:
        self.ws = WebSocket(self, AUTH_BYTES)
        self._directory = directory
        self._gate = gate
        self._trail = trail
        self._peer = peer
        self._place = place
        self._attached: Attached | None = None
        self._patience: asyncio.TimerHandle | None = None
        self._idle: asyncio.TimerHandle | None = None

    # ------------------------------------------------------------ out

    def send(self, data: bytes, *, urgent: bool = True) -> None:
        """One text frame. A socket that is gone is noticed by its reader; one that is full, by not reading from it."""
        frame = text_frame(data)
        if urgent:
            self.ws.send(frame)
            return
        self.ws.hold(frame)
        if self._idle is None:
            self._idle = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._send_held)

    def _send_held(self) -> None:
        self._idle = None
        self.ws.flush()

    def close_soon(self, code: int, reason: str, last: bytes | None = None) -> None:
        """Close without waiting for a peer that may not read; `last` is sent before."""
        self._calm()
        if last is not None:
            self.ws.hold(text_frame(last))
        self.ws.close(code, reason)

    # ------------------------------------------------------------ before AUTH

    def wait_for_hello(self, seconds: float) -> None:
        """AUTH has to come within so many seconds."""
        if self._attached is None and self.ws.transport is not None and self._patience is None:
            self._patience = asyncio.get_running_loop().call_later(seconds, self._too_late)

    def _too_late(self) -> None:
        error = NotAuthenticated("no AUTH came in time")
        self.close_soon(AUTH_TIMEOUT, error.message, _error(error))

    def _calm(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _hello(self, text: str) -> None:
        try:
            hello = read_hello(text)
            attached = self._directory.attach(hello, self._gate.token(hello.token), self)
        except Refusal as refusal:
            self.close_soon(refusal.close, refusal.error.message, _error(refusal.error))
            return
        except GatewayError as error:
            self._trail.note("tunnel.refused", code=error.code, peer=self._peer)
            self._refuse(error)
            return
        self._calm()
        self._place.leave()
        self._attached = attached
        self.ws.max_size = self._directory.limits.max_frame_bytes
        # The WebSocket itself is asked for an echo: the first round trip, before any heartbeat.
        self.ws.ping(b"%d" % time.monotonic_ns())

    def _refuse(self, error: GatewayError) -> None:
        close = FORBIDDEN if isinstance(error, Forbidden) else NOT_AUTHENTICATED
        self.close_soon(close, error.message, _error(error))

    # ------------------------------------------------------------ what comes

    def text(self, text: str) -> None:
        try:
            attached = self._attached
            if attached is None:
                self._hello(text)
            elif attached.bridge.session.epoch != attached.epoch:
                self.close_soon(1000, "")  # another connection took over, or this one was locked out
            elif attached.bridge.receive(text, attached.epoch) == "AUTH":
                self._again(attached, text)
        except Exception:  # whatever a bridge sends, it may cost this socket and nobody else's
            _log.exception("a frame of a bridge could not be handled")
            self.close_soon(1011, "internal error")

    def _again(self, attached: Attached, text: str) -> None:
        """An AUTH on the live connection: another token, or a further page of calls."""
        try:
            self._directory.refresh(attached, hello_of(decode(text)))
        except Refusal as refusal:
            self.close_soon(refusal.close, refusal.error.message, _error(refusal.error))
        except GatewayError as error:
            self._refuse(error)

    def binary(self) -> None:
        self.close_soon(BINARY, "text frames only")

    def pong(self, echo: bytes) -> None:
        """The echo of our `ping`: how long the way there and back is, in milliseconds."""
        took = time.monotonic_ns() - int(echo) if echo.isdigit() and len(echo) < 20 else -1
        if self._attached is not None and 0 <= took < 60_000_000_000:
            self._attached.bridge.session.latency_ms = round(took / 1e6, 3)

    def gone(self) -> None:
        self._calm()
        self._place.leave()
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        attached, self._attached = self._attached, None
        if attached is not None:
            self._directory.detach(attached)


def _error(error: GatewayError | BridgeError) -> bytes:
    payload = error_payload(error.code, error.message, scope="connection", retryable=error.retryable)
    return orjson.dumps({"type": "ERROR", "payload": payload})

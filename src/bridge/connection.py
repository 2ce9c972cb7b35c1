"""One socket of the tunnel: a reader, a writer and a timer around a `BridgeLink`.

`tunnel.py` dials and decides when; the machine decides what. What a piece that was read leads to is written at its
end; the writer's task sends what is more than that, a little at a time, so that a PING or a small answer passes
between the chunks of a large one.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from websockets.exceptions import ConnectionClosed, InvalidState

from bridge.calls import Calls
from bridge.errors import BadParameters, BridgeError
from bridge.ports import JsonObject
from bridge.protocol.bridge_effects import (
    Acknowledged,
    BridgeEffect,
    BridgeIdentity,
    Cancelled,
    Complaint,
    GoAway,
    GrantsRevoked,
    Requested,
    Welcome,
)
from bridge.protocol.bridge_side import BridgeLink
from bridge.protocol.frames import AUTH_SECONDS, NORMAL, Close, decode
from bridge.protocol.outbox import Outbox
from bridge.servers import turn
from bridge.socket import TunnelSocket

WRITE_LIMIT = 256 * 1024
_GATHERED_BYTES = 64 * 1024
_LOG = logging.getLogger("bridge.tunnel")


@dataclass(frozen=True, slots=True)
class Ended:
    """Why `tunnel.py` has to act: the link is `over` with a close code, or drains. `after` in seconds."""

    over: bool
    code: int = 1006
    reason: str = ""
    after: float = 0.0


class Connection:
    """A socket that was opened. `run` lives as long as it does."""

    def __init__(
        self, socket: TunnelSocket, identity: BridgeIdentity, token: str, calls: Calls, outbox: Outbox,
        live: Callable[["Connection"], None],
    ) -> None:  # fmt: skip
        self._socket = socket
        self._calls = calls
        self._live = live
        self._link = BridgeLink(identity, token, outbox, time.monotonic())
        self._token = token
        self.accepted: str | None = None
        """The token that the gateway said yes to last."""
        self._wake = asyncio.Event()
        self._welcome: asyncio.Future[Ended | None] = asyncio.get_running_loop().create_future()
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._drained: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._sending = False
        self._corked = False
        self._complaint = ""
        self._retry_after = 0.0
        self._dead = ""

    @property
    def over(self) -> bool:
        return self._ended.done()

    async def run(self) -> None:
        """Serve the socket until it closes."""
        writer = asyncio.get_running_loop().create_task(self._write())
        self._link.authenticate()
        self._wake.set()
        self._socket.hand_over_to(self._receive)
        try:
            await self._socket.wait_closed()
        finally:
            writer.cancel()
            await asyncio.wait({writer})
            self._finish()

    def _finish(self) -> None:
        code = self._socket.close_code or 1006
        ended = Ended(
            True,
            code,
            self._complaint or self._socket.close_reason or self._dead or "the link broke",
            self._retry_after,
        )
        if not self._ended.done():
            self._ended.set_result(ended)
        if not self._welcome.done():
            self._welcome.set_result(ended)

    async def welcomed(self) -> Ended | None:
        """None when the gateway accepted the token; how it ended where it did not."""
        done, _ = await asyncio.wait({self._welcome}, timeout=AUTH_SECONDS)
        if not done:
            self._dead = "the gateway did not answer to AUTH"
            self.abort()
            await asyncio.wait({self._ended})
            return self._ended.result()
        return self._welcome.result()

    async def ended_or_drained(self) -> Ended:
        """When the link is over, or the gateway wants it to be left."""
        await asyncio.wait({self._ended, self._drained}, return_when=asyncio.FIRST_COMPLETED)
        return self._ended.result() if self._ended.done() else self._drained.result()

    # ------------------------------------------------------------ to be sent

    def answered(self, call_id: str) -> None:
        """There is an answer; it leaves with the next `flush`, or with what the frame that is being read leads to."""
        self._link.answer(call_id)

    def progress(self, call_id: str, payload: JsonObject) -> None:
        self._link.progress(call_id, payload, time.monotonic())
        self._wake.set()

    def refuse(self, error: BridgeError) -> None:
        self._link.refuse(error)
        self._wake.set()

    def tools(self, catalogue: JsonObject) -> None:
        self._link.tools(catalogue)
        self._wake.set()

    def rotate(self, token: str) -> None:
        self._token = token
        self._link.authenticate(token)
        self._wake.set()

    def goaway(self) -> None:
        self._link.goaway("drain")
        self._wake.set()

    async def close(self) -> None:
        """Leave politely."""
        await self._socket.close(NORMAL)

    def abort(self) -> None:
        """Cut the socket without a word."""
        self._socket.transport.abort()

    def flush(self) -> None:
        """Send what waits, together with what else comes of the input that is being worked off."""
        waiting = self._link.waiting
        if waiting >= turn.BURST:
            self._send_unless_full()
        elif waiting and not self._corked:
            self._corked = True
            turn.at_the_end(self._uncork)

    def _uncork(self) -> None:
        self._corked = False
        if self._link.waiting:
            self._send_unless_full()

    def _send_unless_full(self) -> None:
        if self._socket.transport.get_write_buffer_size() < WRITE_LIMIT:
            self._send()
        else:
            self._wake.set()  # the writer waits for room

    def _send(self) -> bool:
        """Up to 64 KiB of frames in one system call; whether there was anything. The writer takes what is more."""
        if self._sending:
            return False
        size = 0
        socket, link = self._socket, self._link
        try:
            while size < _GATHERED_BYTES and (frame := link.next_frame()) is not None:
                socket.protocol.send_text(frame)
                size += len(frame)
            if size:
                socket.transport.write(b"".join(socket.protocol.data_to_send()))
        except (ConnectionClosed, InvalidState, OSError):
            return False  # the socket's end is noticed by `run`; answers are kept
        if size >= _GATHERED_BYTES:
            self._wake.set()
        return size > 0

    # ------------------------------------------------------------ the machine's shell

    async def _write(self) -> None:
        link, wake = self._link, self._wake
        try:
            while True:
                while self._send():
                    self._sending = True
                    try:
                        await self._socket.drain()
                        await asyncio.sleep(0)  # others have their turn between the pieces of a large answer
                    finally:
                        self._sending = False
                wake.clear()
                wait = link.next_tick(time.monotonic())
                try:
                    async with asyncio.timeout(wait):
                        await wake.wait()
                except TimeoutError:
                    self._perform(link.tick(time.monotonic()))
        except ConnectionClosed:
            pass

    def _receive(self, data: bytes) -> None:
        try:
            try:
                frame = decode(data)
            except BadParameters as error:
                self.refuse(error)
                return
            try:
                effects = self._link.receive(frame, time.monotonic())
            except BadParameters as error:  # an AUTH answer that makes no sense
                self._complaint = error.message
                self.abort()
                return
            self._perform(effects)
            self.flush()
        except Exception:  # whatever a gateway sends, it may cost this link and not the bridge
            _LOG.exception("a frame of the gateway could not be handled")
            self._complaint = "a frame of the gateway could not be handled"
            self.abort()

    def _perform(self, effects: list[BridgeEffect]) -> None:
        for effect in effects:
            match effect:
                case Requested():
                    self._calls.handle(effect)
                case Acknowledged():
                    self._calls.acknowledged(effect.id)
                case Cancelled():
                    self._calls.cancel(effect.id, effect.reason)
                case Welcome():
                    self._calls.set_limit(effect.max_result_bytes)
                    self.accepted = self._token
                    if not self._welcome.done():
                        # At once: a call may be in the very next frame, and its answer needs a way out.
                        self._live(self)
                        self._welcome.set_result(None)
                case GoAway():
                    self._go_away(effect)
                case Complaint():
                    self._complaint = effect.error.message
                    self._retry_after = (effect.error.retry_after_ms or 0) / 1000
                case GrantsRevoked():
                    self._calls.revoke_grants(effect.grants)
                case Close():
                    self._dead = effect.reason
                    self.abort()

    def _go_away(self, effect: GoAway) -> None:
        if effect.reason == "drain" and not self._drained.done():
            self._drained.set_result(Ended(False, 0, "the gateway is restarting", effect.reconnect_after_ms / 1000))

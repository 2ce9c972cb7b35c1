"""A WebSocket of the gateway after the upgrade: the sans-I/O protocol of `websockets` on the listener's transport.

aiohttp does the HTTP part and then lets go (`hand_over`): its request with the headers, its parser, its queue and the
handler's task would stay for as long as the socket does, and each message would take two more turns of the event loop.
Here each message goes to its `Owner` as soon as it is parsed, and what that leads to leaves in one write at the end of
the piece that was read. Above is whoever owns a socket: `connection.py`, `tunnel/socket.py`. What messages mean is not
known here.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from aiohttp import web
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol as Machine
from websockets.protocol import Side, State

from bridge.servers import turn

WRITE_LIMIT = 256 * 1024
"""What may wait for a peer that does not read, before we don't read from him either."""
_MOST_FRAGMENTS = 1024
_CLOSE_SECONDS = 1.0
_LINGER_SECONDS = 0.1


class Owner(Protocol):
    """Whose socket it is. None of these may raise."""

    def text(self, text: str) -> None: ...

    def binary(self) -> None: ...

    def pong(self, echo: bytes) -> None: ...

    def gone(self) -> None:
        """The socket has ended; called once."""
        ...


class WebSocket(asyncio.Protocol):
    """One connection, the server's side. `max_size` (bytes of a message) may be changed on the way."""

    __slots__ = ("_closing", "_halted", "_machine", "_out", "_owner", "_parts", "_waiting", "transport")

    def __init__(self, owner: Owner, max_size: int) -> None:
        self.transport: asyncio.Transport | None = None
        self._owner: Owner | None = owner
        self._machine = Machine(Side.SERVER, state=State.OPEN, max_size=max_size)
        self._parts: list[bytes] = []
        self._out: list[bytes] = []
        self._waiting = False
        self._halted = False
        self._closing: asyncio.TimerHandle | None = None

    @property
    def max_size(self) -> int:
        return self._machine.max_size or 0

    @max_size.setter
    def max_size(self, size: int) -> None:
        self._machine.max_size = size

    # ------------------------------------------------------------ out

    def send(self, frame: bytes) -> None:
        """Send a frame that is made (`packets.text_frame`), with what else comes of this turn."""
        self._out.append(frame)
        if len(self._out) >= turn.BURST:
            self.flush()
        elif not self._waiting:
            self._waiting = True
            turn.at_the_end(self.flush)

    def hold(self, frame: bytes) -> None:
        """Send it with the next that is sent, or at the next `flush`."""
        self._out.append(frame)

    def flush(self) -> None:
        """Write what waits. What comes after a close was said is dropped."""
        self._waiting = False
        if not self._out:
            return
        out, self._out = self._out, []
        if self.transport is not None and self._machine.state is State.OPEN:
            self.transport.write(out[0] if len(out) == 1 else b"".join(out))

    def ping(self, data: bytes) -> None:
        """Ask the peer for an echo, which comes as `pong`."""
        if self._machine.state is State.OPEN:
            self.flush()
            self._machine.send_ping(data)
            self._push()

    def close(self, code: int, reason: str = "", *, grace: float = _CLOSE_SECONDS) -> None:
        """Say goodbye, after what waits; the line is cut where the peer has not answered after `grace` seconds."""
        if self._machine.state is State.OPEN:
            self.flush()
            self._machine.send_close(code, reason.encode()[:120].decode(errors="ignore"))
            self._push()
        self._end_within(grace)

    def abort(self) -> None:
        """Cut the line: closing a peer that does not read would hang."""
        if self.transport is not None:
            self.transport.abort()

    def _end_within(self, seconds: float) -> None:
        if self._closing is None and self.transport is not None:
            self._closing = asyncio.get_running_loop().call_later(seconds, self.abort)

    def _push(self) -> None:
        """What the protocol itself has to say: pongs, closes, the end."""
        transport = self.transport
        for data in self._machine.data_to_send():
            if transport is None:
                continue
            if data:
                transport.write(data)
                continue
            self._end_within(_CLOSE_SECONDS)
            if self._machine.close_rcvd is None:
                # It broke a rule and may still be sending: a line that is closed with something unread is reset,
                # and the reason that we gave is lost on the way. What comes meanwhile is thrown away.
                asyncio.get_running_loop().call_later(_LINGER_SECONDS, transport.close)
            else:
                transport.close()

    # ------------------------------------------------------------ in

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=WRITE_LIMIT)

    def data_received(self, data: bytes) -> None:
        outermost = turn.begin()
        try:
            self._machine.receive_data(data)
            self._work_off()
        finally:
            if outermost:
                turn.end()

    def _work_off(self) -> None:
        for event in self._machine.events_received():
            owner = self._owner
            if owner is None or not isinstance(event, Frame):
                continue
            if event.opcode is Opcode.PONG:
                owner.pong(bytes(event.data))
            elif event.opcode is Opcode.BINARY:
                owner.binary()
            elif event.opcode is Opcode.TEXT or event.opcode is Opcode.CONT:
                self._piece(owner, event)
        self._push()

    def _piece(self, owner: Owner, frame: Frame) -> None:
        data: bytes | bytearray | memoryview = frame.data
        if self._parts or not frame.fin:
            self._parts.append(bytes(data))
            if len(self._parts) > _MOST_FRAGMENTS:
                self.close(1009, "too many fragments")
                return
            if not frame.fin:
                return
            data = b"".join(self._parts)
            self._parts = []
        if self._machine.state is not State.OPEN:
            return  # after a close nothing is read any more (RFC 6455, 1.4)
        try:
            text = str(data, "utf-8")
        except UnicodeDecodeError:
            self.close(1007, "text is UTF-8")
            return
        owner.text(text)

    def eof_received(self) -> None:
        self._machine.receive_eof()
        self._push()

    def halt(self, on: bool) -> None:
        """Read nothing more, or go on; what was read already may still come."""
        if self._halted is not on:
            self._halted = on
            if self.transport is not None:
                (self.transport.pause_reading if on else self.transport.resume_reading)()

    def pause_writing(self) -> None:
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.transport is not None and not self._halted:
            self.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._out.clear()
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        owner, self._owner = self._owner, None
        if owner is not None:
            owner.gone()


class HandedOver(web.StreamResponse):
    """What a handler returns whose connection is somebody else's now: there is nothing left to send."""

    async def prepare(self, request: web.BaseRequest) -> None:
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        return None


async def hand_over(request: web.Request, make: Callable[[asyncio.Transport], WebSocket]) -> HandedOver:
    """Upgrade, and give the connection to the socket that `make` makes of it. Return the answer from the handler.

    Raises HTTPException for a request that can't be upgraded, ConnectionResetError where the client is gone.
    """
    handler: Any = request.protocol
    # A client that does not wait for the answer: its first frames lie in the HTTP parser, which keeps them for an
    # aiohttp socket. They are ours.
    early, handler._message_tail = getattr(handler, "_message_tail", b""), b""
    ws = web.WebSocketResponse(compress=False)
    await ws.prepare(request)
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    socket = make(transport)
    transport.set_protocol(socket)
    handler.transport = None  # it would close it
    handler.connection_lost(None)  # towards aiohttp this connection has ended
    socket.connection_made(transport)
    if early:
        socket.data_received(early)
    return HandedOver()

"""`GET /tunnel` and `GET /v1/tunnel`: sockets of bridges, and the two routes of pairing.

Nothing but one AUTH frame of 64 KiB at most is read before its token was checked. Above is `server.py`, which
mounts `routes`; below, the directory. What frames mean is the machine's business.
"""

import asyncio
import contextlib
import struct
import time

import orjson
from aiohttp import WSCloseCode, WSMsgType, web

from bridge.errors import BridgeError
from bridge.protocol import Hello, Refusal, decode, hello_of, read_hello
from bridge.protocol.frames import AUTH_BYTES, AUTH_SECONDS, AUTH_TIMEOUT, FORBIDDEN, NOT_AUTHENTICATED, error_payload
from bus.context import current_trace_id
from bus.errors import Forbidden, GatewayError, NotAuthenticated, NotFound, RateLimited
from gateway.tunnel.directory import Attached, Directory
from gateway.tunnel.ports import Gate, Trail

_CLOSE_SECONDS = 1.0
_IDLE_SECONDS = 0.005
_FULL_SECONDS = 0.005
_MOST_BYTES = 256 * 1024


class Socket:
    """A bridge's socket as the directory knows it.

    Frames are written to the transport by ourselves: those of one turn of the loop leave in one system call, where
    aiohttp takes one for each. They are text frames of a server (RFC 6455, 5.2): whole, unmasked, uncompressed.
    """

    __slots__ = ("_closing", "_corked", "_out", "_request", "_timer", "_ws")

    def __init__(self, ws: web.WebSocketResponse, request: web.Request) -> None:
        self._ws = ws
        self._request = request
        self._closing: asyncio.Task[None] | None = None
        self._out: list[bytes] = []
        self._corked = False
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, data: bytes, *, urgent: bool = True) -> None:
        """One text frame. A socket that is gone is noticed by its reader; a peer that does not read is waited for."""
        self._out.append(_head(len(data)) + data)
        if not urgent:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(_IDLE_SECONDS, self._flush)
            return
        if self._corked:
            return
        self._corked = True
        asyncio.get_running_loop().call_soon(self._uncork)
        self._flush()
        # asyncio tells only the protocol when there is room again, and that is aiohttp's: so look now and then.
        while self._full():  # noqa: ASYNC110  # nothing can be awaited, see above
            await asyncio.sleep(_FULL_SECONDS)

    def _full(self) -> bool:
        transport = self._request.transport
        if transport is None or transport.is_closing():
            return False
        return transport.get_write_buffer_size() > _MOST_BYTES

    def _uncork(self) -> None:
        self._corked = False
        self._flush()

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        transport = self._request.transport
        if self._out and transport is not None and not self._ws.closed and not transport.is_closing():
            transport.write(b"".join(self._out))
        self._out.clear()

    async def ping(self) -> None:
        """Ask the WebSocket itself for an echo: the first round trip, before any heartbeat."""
        with contextlib.suppress(ConnectionError, RuntimeError):
            await self._ws.ping(b"%d" % time.monotonic_ns())

    def round_trip(self, echo: bytes) -> float | None:
        """Milliseconds since the `ping` that came back."""
        text = bytes(echo)
        took = time.monotonic_ns() - int(text) if text.isdigit() and len(text) < 20 else -1
        return round(took / 1e6, 3) if 0 <= took < 60_000_000_000 else None

    def close_soon(self, code: int, reason: str, last: bytes | None = None) -> None:
        if self._closing is None:
            self._closing = asyncio.get_running_loop().create_task(self._close(code, reason, last))

    async def _close(self, code: int, reason: str, last: bytes | None) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if last is not None:
                    self._out.append(_head(len(last)) + last)
                self._flush()
                await self._ws.close(code=code, message=reason.encode()[:120])
        except (TimeoutError, ConnectionError, RuntimeError):
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Cut the connection: closing a peer that does not read would hang."""
        transport = self._request.transport
        if transport is not None:
            transport.abort()

    async def closed(self) -> None:
        """Wait for a close that was begun."""
        if self._closing is not None:
            await asyncio.wait({self._closing})


class Endpoint:
    """The handlers."""

    def __init__(self, directory: Directory, gate: Gate, trail: Trail, *, auth_seconds: float = AUTH_SECONDS) -> None:
        self._directory = directory
        self._gate = gate
        self._trail = trail
        self._auth_seconds = auth_seconds

    def routes(self) -> list[web.RouteDef]:
        """To be mounted."""
        return [
            web.get("/tunnel", self.tunnel), web.get("/v1/tunnel", self.tunnel),
            web.post("/api/v1/bridge/pair", self.begin_pairing),
            web.get("/api/v1/bridge/pair/{pair_id}", self.poll_pairing),
        ]  # fmt: skip

    # ------------------------------------------------------------ the socket

    async def tunnel(self, request: web.Request) -> web.StreamResponse:
        """One connection of a bridge, from AUTH to its end."""
        ws = web.WebSocketResponse(
            compress=False, max_msg_size=self._directory.limits.max_frame_bytes, timeout=_CLOSE_SECONDS, autoping=False
        )  # fmt: skip
        if not ws.can_prepare(request).ok:
            return web.json_response(
                {"error": {"code": 1000, "message": "this is the tunnel: a WebSocket is expected", "retryable": False,
                           "trace_id": current_trace_id()}}, status=426, headers={"Upgrade": "websocket"},
            )  # fmt: skip
        await ws.prepare(request)
        ws.headers.clear()  # they are sent; there may be thousands of connections
        socket = Socket(ws, request)
        hello = await self._hello(ws, socket)
        if hello is None:
            await socket.closed()
            return ws
        try:
            attached = await self._directory.attach(hello, self._gate.token(hello.token), socket)
        except GatewayError as error:
            close = FORBIDDEN if isinstance(error, Forbidden) else NOT_AUTHENTICATED
            self._trail.note("tunnel.refused", code=error.code, peer=request.remote)
            socket.close_soon(close, error.message, _error(error))
            await socket.closed()
            return ws
        del hello  # there may be thousands that do nothing for hours
        try:
            await self._serve(ws, socket, attached)
        finally:
            self._directory.detach(attached)
            await socket.closed()
        return ws

    async def _hello(self, ws: web.WebSocketResponse, socket: Socket) -> Hello | None:
        """The AUTH frame, or None where the connection was refused."""
        try:
            async with asyncio.timeout(self._auth_seconds):
                message = await ws.receive()
                while message.type in (WSMsgType.PING, WSMsgType.PONG):
                    message = await ws.receive()
        except TimeoutError:
            error = NotAuthenticated("no AUTH came in time")
            socket.close_soon(AUTH_TIMEOUT, error.message, _error(error))
            return None
        if message.type is WSMsgType.BINARY:
            socket.close_soon(WSCloseCode.UNSUPPORTED_DATA, "text frames only")
            return None
        if message.type is not WSMsgType.TEXT:
            return None
        if len(message.data.encode(errors="replace")) > AUTH_BYTES:
            socket.close_soon(WSCloseCode.MESSAGE_TOO_BIG, "an AUTH frame has at most 64 KiB")
            return None
        try:
            return read_hello(message.data)
        except Refusal as refusal:
            socket.close_soon(refusal.close, refusal.error.message, _error(refusal.error))
            return None

    async def _serve(self, ws: web.WebSocketResponse, socket: Socket, attached: Attached) -> None:
        bridge, epoch = attached.bridge, attached.epoch
        await socket.ping()
        async for message in ws:
            if message.type is WSMsgType.PONG:
                bridge.session.latency_ms = socket.round_trip(message.data) or bridge.session.latency_ms
            elif message.type is WSMsgType.PING:
                await ws.pong(message.data)
            elif message.type is WSMsgType.TEXT:
                if await bridge.receive(message.data, epoch) == "AUTH" and not await self._again(
                    message.data, socket, attached
                ):
                    return
            elif message.type is WSMsgType.BINARY:
                socket.close_soon(WSCloseCode.UNSUPPORTED_DATA, "text frames only")
                return
            if bridge.session.epoch != epoch:
                return  # another connection took over, or this one was locked out

    async def _again(self, text: str, socket: Socket, attached: Attached) -> bool:
        """An AUTH on the live connection: another token, or a further page of calls."""
        try:
            await self._directory.refresh(attached, hello_of(decode(text)))
        except Refusal as refusal:
            socket.close_soon(refusal.close, refusal.error.message, _error(refusal.error))
            return False
        except GatewayError as error:
            close = FORBIDDEN if isinstance(error, Forbidden) else NOT_AUTHENTICATED
            socket.close_soon(close, error.message, _error(error))
            return False
        return True

    # ------------------------------------------------------------ pairing

    async def begin_pairing(self, request: web.Request) -> web.Response:
        """`POST /api/v1/bridge/pair {name, os}`."""
        try:
            body = orjson.loads(await request.read())
        except orjson.JSONDecodeError:
            body = None
        if not isinstance(body, dict) or not all(isinstance(body.get(key, ""), str) for key in ("name", "os")):
            return _http_error(400, 1000, "the body is {name, os}")
        try:
            begun = self._directory.pairing.begin(body.get("name", ""), body.get("os", ""), request.remote or "")
        except RateLimited as error:
            return _http_error(429, error.code, error.message, retry_after_ms=error.retry_after_ms)
        return web.json_response(begun)

    async def poll_pairing(self, request: web.Request) -> web.Response:
        """`GET /api/v1/bridge/pair/<id>`."""
        state, body = self._directory.pairing.poll(request.match_info["pair_id"])
        if state == "gone":
            return _http_error(410, NotFound.code, "this pairing is over")
        if state == "unknown":
            return _http_error(404, NotFound.code, "no such pairing")
        return web.json_response(body, headers={"Cache-Control": "no-store"})


def _head(size: int) -> bytes:
    if size < 126:
        return bytes((0x81, size))
    return struct.pack("!BBH", 0x81, 126, size) if size < 65536 else struct.pack("!BBQ", 0x81, 127, size)


def _error(error: GatewayError | BridgeError) -> bytes:
    payload = error_payload(error.code, error.message, scope="connection", retryable=error.retryable)
    return orjson.dumps({"type": "ERROR", "payload": payload})


def _http_error(status: int, code: int, message: str, *, retry_after_ms: int | None = None) -> web.Response:
    error = {"code": code, "message": message, "retryable": status == 429, "trace_id": current_trace_id()}
    headers = {}
    if retry_after_ms is not None:
        error["retry_after_ms"] = retry_after_ms
        headers["Retry-After"] = str(-(-retry_after_ms // 1000))
    return web.json_response({"error": error}, status=status, headers=headers)

"""The listener: one port for HTTP, `/ws` and whatever routes are handed in (tunnel, webhooks).

Above is `app.py`, below the routes and `connection.py`. Before any route runs it checks address,
Host, Origin and that no token travels in the URL, loopback included; every answer leaves with the
same protective headers. It knows no method and no user.
"""

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.typedefs import Middleware

from bus.context import new_trace_id, trace_id
from bus.errors import GatewayError, NotFound, Overloaded, TooLarge
from gateway.auth import COOKIE, Authenticator, refuse_token_in_url
from gateway.connection import Connection, House
from gateway.guard import REQUEST_SECONDS, GuardedHandler, Places, Waiting
from gateway.http.exchange import PROTECTIVE_HEADERS, error_response
from gateway.http.stopping import UnderWay
from gateway.network import Doors, local_url
from gateway.protocol import RpcError
from gateway.settings_server import ServerSettings

if TYPE_CHECKING:
    from gateway.websocket import WebSocket

log = logging.getLogger("gateway.server")

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
PEER: web.RequestKey[str] = web.RequestKey("peer", str)
GOING_AWAY = 1012
CERTIFICATE_SECONDS = 60.0
"""Between two looks at whether the certificate was renewed."""
GUEST_HEADERS = {
    "Access-Control-Allow-Methods": "GET, POST",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Idempotency-Key, X-Session-Key",
    "Access-Control-Max-Age": "600",
}
"""For pages of `server.allowed_origins` (Fetch standard, CORS); they bring a token, never a cookie."""
_HANDLER_OPTIONS: dict[str, Any] = {
    "keepalive_timeout": 75.0, "access_log": None, "auto_decompress": False, "lingering_time": 2.0,
}  # fmt: skip


def peer_of(request: web.Request) -> str:
    """The client's address, as the checks established it."""
    return str(request[PEER])


class Listener:
    """The port. `house` is what sockets stand on; `taking_in` says whether new sockets are taken in."""

    def __init__(
        self, settings: ServerSettings, *, house: House, authenticator: Authenticator, doors: Doors,
        routes: Sequence[web.AbstractRouteDef], taking_in: Callable[[], bool], under_way: UnderWay,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._house = house
        self._authenticator = authenticator
        self._doors = doors
        self._taking_in = taking_in
        self._under_way = under_way
        self._places = Places()
        self._waiting = Waiting()
        self._runner: web.AppRunner | None = None
        self._servers: list[asyncio.Server] = []
        self._context: ssl.SSLContext | None = None
        self._app = web.Application(middlewares=[self._middleware()], client_max_size=2**40)
        self._app.router.add_get("/ws", self.websocket)
        self._app.add_routes(routes)
        self._app.on_response_prepare.append(self._protect)
        self.port = settings.port

    # ------------------------------------------------------------ life

    async def open(self) -> None:
        """Bind the port. Raises OSError, UnusableTls."""
        runner = web.AppRunner(self._app, handle_signals=False, shutdown_timeout=1.0, **_HANDLER_OPTIONS)
        await runner.setup()
        assert runner.server is not None
        manager, loop = runner.server, asyncio.get_running_loop()

        def handler() -> GuardedHandler:
            return GuardedHandler(manager, self._waiting, loop=loop, **_HANDLER_OPTIONS)

        host = None if self._settings.host == "*" else self._settings.host
        self._context = context = tls_context(self._settings)
        server = await loop.create_server(
            handler, host, self._settings.port, ssl=context, backlog=1024, reuse_address=True,
            ssl_handshake_timeout=None if context is None else REQUEST_SECONDS,
            ssl_shutdown_timeout=None if context is None else 2.0,
        )  # fmt: skip
        self._runner = runner
        self._servers.append(server)
        self.port = server.sockets[0].getsockname()[1]

    async def renew(self) -> None:
        """Take over a renewed certificate, until cancelled: the one of the start is over long before the house is."""
        if self._context is None:
            await asyncio.Event().wait()
            return
        known = _mark(self._settings)
        while True:
            await asyncio.sleep(CERTIFICATE_SECONDS)
            found = await asyncio.to_thread(_mark, self._settings)
            if found == known or not found:
                continue
            try:
                # first aside: half a pair would spoil the one in use
                await asyncio.to_thread(tls_context, self._settings)
                tls_context(self._settings, self._context)
            except UnusableTls as error:  # its other half is still being written, or it is none
                log.warning("the renewed certificate is not taken over: %s", error)
                continue
            known = found
            log.info("a renewed certificate is in use")

    @property
    def scheme(self) -> str:
        """`https` where TLS is ours, or a proxy's before us."""
        return "https" if self._settings.tls.cert or self._settings.tls_terminated_by_proxy else "http"

    @property
    def url(self) -> str:
        """Where the web chat is, as seen from this machine."""
        return local_url(self._settings, self.port)

    async def close(self, *, seconds: float = 2.0) -> None:
        """Answer what still waits (503), let everybody go (1012) and free the port."""
        for server in self._servers:
            server.close()
        self._under_way.stop()
        await self._house.sockets.close_all(GOING_AWAY, "the gateway restarts", seconds=seconds)
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        self._servers.clear()

    # ------------------------------------------------------------ every request

    def _middleware(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            trace_id.set(new_trace_id())
            try:
                self._check(request)
                if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
                    return web.Response(status=204)
                with self._under_way.entered():
                    return await handler(request)
            except (GatewayError, RpcError) as error:
                return error_response(error)
            except web.HTTPException as error:
                return error_response(_foreign(error))
            except (ConnectionError, asyncio.CancelledError):
                raise
            except Exception as error:  # one request's mistake is answered, not the house's
                log.exception("%s %s failed", request.method, request.path)
                return error_response(error)

        return guard

    def _check(self, request: web.Request) -> None:
        remote = request.remote or ""
        request[PEER] = self._doors.peer(remote, request.headers)
        self._doors.check_address(request[PEER])
        transport = request.transport
        local = transport.get_extra_info("sockname") if transport is not None else None
        host = self._doors.check_host(request.headers, local[0] if isinstance(local, tuple) else "")
        self._doors.check_origin(request.headers, host, "https" if request.secure else "http")
        refuse_token_in_url(request.query_string)

    async def _protect(self, request: web.Request, response: web.StreamResponse) -> None:
        headers = response.headers
        for name, value in PROTECTIVE_HEADERS.items():
            headers.setdefault(name, value)
        headers["Server"] = "gateway"
        headers.setdefault("Cache-Control", "no-store")
        guest = self._doors.guest(request.headers)
        if guest is not None:
            headers.update({"Access-Control-Allow-Origin": guest, "Vary": "Origin"} | GUEST_HEADERS)

    # ------------------------------------------------------------ sockets

    async def websocket(self, request: web.Request) -> web.StreamResponse:
        """`GET /ws`: upgraded here, and from then on a `Connection`'s."""
        if not self._taking_in():
            raise Overloaded("the gateway is starting or stopping", retry_after_ms=1000)
        principal = self._authenticator.header(request.headers) or self._authenticator.cookie(
            request.cookies.get(COOKIE)
        )
        if not web.WebSocketResponse().can_prepare(request).ok:
            raise web.HTTPUpgradeRequired
        place = None if principal is not None else await self._places.take(peer_of(request))
        connection: Connection | None = None
        language = "zh" if request.headers.get("Accept-Language", "").lower().startswith("zh") else ""

        def begin(transport: asyncio.Transport) -> "WebSocket":
            nonlocal connection
            most = self._settings.max_message_bytes
            connection = Connection(transport, self._house, principal, place, max_size=most, language=language)
            return connection.socket

        try:
            self._house.sockets.check_room()
            from gateway.websocket import hand_over  # as in `Connection`

            return await hand_over(request, begin)
        finally:
            if connection is None and place is not None:
                place.leave()

    def stats(self) -> dict[str, int]:
        """For `/status` and the metrics."""
        return {"connections": len(self._house.sockets), "unasked": len(self._waiting)}


def _foreign(error: web.HTTPException) -> Exception:
    """aiohttp's own refusals in our words."""
    if error.status == 404:
        return NotFound("there is nothing here")
    if error.status == 413:
        return TooLarge("the body is too large")
    return HttpRefusal(error)


class HttpRefusal(RpcError):
    """A refusal of HTTP itself: wrong method, no upgrade, malformed. `answer_headers` say what is (RFC 9110)."""

    def __init__(self, error: web.HTTPException) -> None:
        super().__init__(1000, error.reason.lower())
        self.status = error.status
        self.answer_headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else {}
        if error.status == 426:
            self.answer_headers = {"Upgrade": "websocket", "Connection": "Upgrade"}


class UnusableTls(OSError):
    """The configured certificate and key cannot be used; the message says which and why. A mistake in the settings."""


def _mark(settings: ServerSettings) -> tuple[tuple[int, int], ...]:
    """What differs when certificate or key were written or replaced; nothing where one is missing."""
    try:
        found = [path.stat() for path in (settings.tls.cert, settings.tls.key) if path is not None]
    except OSError:
        return ()
    return tuple((status.st_mtime_ns, status.st_ino) for status in found)


def tls_context(settings: ServerSettings, context: ssl.SSLContext | None = None) -> ssl.SSLContext | None:
    """The server's TLS context, a new one or `context` with what the files hold now; None without TLS.

    Raises UnusableTls.
    """
    cert, key = settings.tls.cert, settings.tls.key
    if cert is None:
        return None
    context = context or ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password="")  # else OpenSSL asks the terminal for it, and waits
    except ssl.SSLError as error:
        reason = (error.reason or str(error)).replace("_", " ").lower()
        raise UnusableTls(f"server.tls: {cert} and {key} are no certificate and key that fit ({reason})") from error
    except OSError as error:
        raise UnusableTls(f"server.tls: {cert} or {key} can't be read: {error.strerror}") from error
    return context

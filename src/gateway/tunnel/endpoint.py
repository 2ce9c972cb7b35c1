"""`GET /tunnel` and `GET /v1/tunnel`, where bridges dial in, and the two routes of pairing.

Above is `server.py`, which mounts `routes`; below, a socket for each connection (`socket.py`) and the directory.
"""

import orjson
from aiohttp import web

from bridge.protocol.frames import AUTH_SECONDS
from bus.context import current_trace_id
from bus.errors import GatewayError, NotFound, RateLimited
from gateway.guard import Places
from gateway.http.exchange import error_response, read_body
from gateway.server import PEER
from gateway.tunnel.directory import Directory
from gateway.tunnel.ports import Gate, Trail

PAIRING_BYTES = 4096


class Endpoint:
    """The handlers."""

    def __init__(self, directory: Directory, gate: Gate, trail: Trail, *, auth_seconds: float = AUTH_SECONDS) -> None:
        self._directory = directory
        self._gate = gate
        self._trail = trail
        self._auth_seconds = auth_seconds
        self._places = Places()

    def routes(self) -> list[web.RouteDef]:
        """To be mounted."""
        return [
            web.get("/tunnel", self.tunnel), web.get("/v1/tunnel", self.tunnel),
            web.post("/api/v1/bridge/pair", self.begin_pairing),
            web.get("/api/v1/bridge/pair/{pair_id}", self.poll_pairing),
        ]  # fmt: skip

    # ------------------------------------------------------------ the socket

    async def tunnel(self, request: web.Request) -> web.StreamResponse:
        """One connection of a bridge: upgraded here, and from then on a `BridgeSocket`'s.

        Raises RateLimited and Overloaded where too many have not said who they are.
        """
        if not web.WebSocketResponse().can_prepare(request).ok:
            return web.json_response(
                {"error": {"code": 1000, "message": "this is the tunnel: a WebSocket is expected", "retryable": False,
                           "trace_id": current_trace_id()}}, status=426, headers={"Upgrade": "websocket"},
            )  # fmt: skip
        # A mebibyte of library that a gateway without bridges does not need.
        from gateway.tunnel.socket import BridgeSocket
        from gateway.websocket import hand_over

        peer = _peer(request)
        place = await self._places.take(peer)
        socket = BridgeSocket(self._directory, self._gate, self._trail, peer, place)
        try:
            answer = await hand_over(request, lambda transport: socket.ws)
        except BaseException:  # whatever it was: there is no socket that would give it back
            place.leave()
            raise
        socket.wait_for_hello(self._auth_seconds)
        return answer

    # ------------------------------------------------------------ pairing

    async def begin_pairing(self, request: web.Request) -> web.Response:
        """`POST /api/v1/bridge/pair {name, os}`."""
        try:
            body = orjson.loads(await read_body(request, PAIRING_BYTES))
        except orjson.JSONDecodeError:
            body = None
        except GatewayError as error:
            return error_response(error)
        if not isinstance(body, dict) or not all(isinstance(body.get(key, ""), str) for key in ("name", "os")):
            return _http_error(400, 1000, "the body is {name, os}")
        try:
            begun = self._directory.pairing.begin(body.get("name", ""), body.get("os", ""), _peer(request))
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


def _peer(request: web.Request) -> str:
    """The address of who asks, as the listener established it: behind a proxy all have the proxy's."""
    return str(request.get(PEER) or request.remote or "")


def _http_error(status: int, code: int, message: str, *, retry_after_ms: int | None = None) -> web.Response:
    error = {"code": code, "message": message, "retryable": status == 429, "trace_id": current_trace_id()}
    headers = {}
    if retry_after_ms is not None:
        error["retry_after_ms"] = retry_after_ms
        headers["Retry-After"] = str(-(-retry_after_ms // 1000))
    return web.json_response({"error": error}, status=status, headers=headers)

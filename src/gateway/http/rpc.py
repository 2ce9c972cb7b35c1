"""`POST /api/v1/rpc`: the methods over HTTP; `chat.send_stream` answers `text/event-stream`.

One request is answered with the status of its error's code, a batch always with 200, a notification
with 204. A client that leaves a stream loses only the stream.
"""

from aiohttp import web

from bus.errors import GatewayError
from bus.events import TERMINAL, JsonObject
from gateway.answering import answer, answer_batch
from gateway.auth import Authenticator, Principal
from gateway.handlers.call import Call
from gateway.handlers.dispatch import Dispatcher
from gateway.http.exchange import bearer, json_response, read_body, retry_after_seconds
from gateway.http.stopping import Stopping, UnderWay
from gateway.hub import Hub
from gateway.json_text import UNWRITABLE
from gateway.protocol import HTTP_STATUS, Entry, Incoming, Peer, Refusal, Request, failure, response_bytes, unwritable
from gateway.stream import EventStream

SSE_HEADERS = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
}

ALIVE_SECONDS = 15.0
ALIVE = b": still here\n\n"
"""A comment, for proxies that cut silent lines, and to notice a client that left."""


class RpcRoute:
    """The route. `max_bytes` bounds a body."""

    def __init__(
        self, *, dispatcher: Dispatcher, authenticator: Authenticator, hub: Hub, max_bytes: int, under_way: UnderWay
    ) -> None:
        self._dispatcher = dispatcher
        self._authenticator = authenticator
        self._hub = hub
        self._max_bytes = max_bytes
        self._under_way = under_way

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/api/v1/rpc", self.rpc)]

    async def rpc(self, request: web.Request) -> web.StreamResponse:
        """One request or a batch."""
        principal = bearer(request, self._authenticator)
        peer = Peer()
        incoming = peer.receive(await read_body(request, self._max_bytes))
        try:
            with self._under_way.entered():
                return await self._answer(request, incoming, principal, peer)
        except Stopping:
            return _responses([_stopped(entry) for entry in incoming.entries if entry.wants_reply], incoming.batch)

    async def _answer(
        self, request: web.Request, incoming: Incoming, principal: Principal, peer: Peer
    ) -> web.StreamResponse:
        if incoming.batch:
            calls = [Call(principal=principal) for _ in incoming.entries]
            return _responses(await answer_batch(incoming.entries, calls, self._dispatcher, peer), batch=True)
        entry = incoming.entries[0]
        if isinstance(entry, Request) and entry.method == "chat.send_stream" and entry.wants_reply:
            return await self._stream(request, entry, principal, peer)
        response = await answer(entry, Call(principal=principal), self._dispatcher, peer)
        return _responses([response] if entry.wants_reply else [], batch=False)

    async def _stream(
        self, request: web.Request, entry: Request, principal: Principal, peer: Peer
    ) -> web.StreamResponse:
        reader = EventStream()
        call = Call(principal=principal, origin=reader.origin, reader=reader)
        try:
            response = await answer(entry, call, self._dispatcher, peer)
            if "error" in response:
                return _single(response)
            out = web.StreamResponse(headers=SSE_HEADERS)
            await out.prepare(request)
            await out.write(b"data: " + response_bytes(response) + b"\n\n")
            call.replied()
            await self._events(out, reader, response["result"]["message_id"])
            return out
        finally:
            call.replied()
            self._hub.leave(reader, principal.user)

    async def _events(self, out: web.StreamResponse, reader: EventStream, message_id: str) -> None:
        try:
            with self._under_way.entered():
                await self._copy(out, reader, message_id)
        except (GatewayError, ConnectionError):
            return  # the stream breaks off; the client comes back with the same key or reads the history

    async def _copy(self, out: web.StreamResponse, reader: EventStream, message_id: str) -> None:
        while True:
            packet = await reader.take(ALIVE_SECONDS)
            if packet is None:
                await out.write(ALIVE)
                continue
            seq = getattr(packet.event, "seq", None)
            number = b"" if seq is None else b"id: %d\n" % seq
            await out.write(number + b"data: " + packet.payload + b"\n\n")
            if isinstance(packet.event, TERMINAL) and packet.event.message_id == message_id:
                return


def _responses(responses: list[JsonObject], batch: bool) -> web.Response:
    """To one request or a batch; none to notifications."""
    if not responses:
        return web.Response(status=204)
    return (
        web.Response(body=response_bytes(responses), content_type="application/json") if batch else _single(*responses)
    )


def _stopped(entry: Entry) -> JsonObject:
    """The response to an entry of which nobody knows how far it came. Under its key it can be sent again."""
    if isinstance(entry, Refusal):
        return failure(entry.id, entry.error)
    keyed = isinstance(entry.params, dict) and "idempotency_key" in entry.params
    return failure(entry.id, Stopping(repeatable=keyed))


def _single(response: JsonObject) -> web.Response:
    """A lone response: its status, and in an error what every error over HTTP says, where every route says it."""
    status, headers, error = status_of(response), {}, response.get("error")
    if error is not None:
        response = response | {"error": error | error["data"]}
        if (wait := error["data"].get("retry_after_ms")) is not None:
            headers["Retry-After"] = str(retry_after_seconds(wait))
    try:
        return json_response(response, status, headers)
    except UNWRITABLE:
        return _single(unwritable(response))


def status_of(response: JsonObject) -> int:
    """The HTTP status of one response."""
    error = response.get("error")
    if error is None:
        return 200
    code = 1000 if error["code"] == -32602 else error["code"]
    return HTTP_STATUS.get(code, 500)

"""`/v1/chat/completions` and `/v1/models`: the gateway as an OpenAI endpoint.

A request is a message like any other. Without `X-Session-Key` it is an ephemeral session of its own,
with the client's messages as history, and it is stopped when the client leaves; with the header only
the last user message is appended to that session, and the turn goes on without the client. The shape
of requests is read in `openai_request.py`, that of answers is written in `openai_reply.py`.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from aiohttp import web

from bus.context import new_id
from bus.errors import BadParameters, CallCancelled, GatewayError, NotFound, Overloaded
from bus.events import Accepted, ChatDelta, ChatDone, ChatError, InboundMessage, JsonObject, MediaRef, TurnOptions
from bus.keys import SessionKey
from gateway import protocol
from gateway.auth import Authenticator, Principal, require
from gateway.handlers.access import Access
from gateway.handlers.call import Call
from gateway.handlers.chat import ChatMethods
from gateway.handlers.endings import as_error
from gateway.handlers.ports import Turns
from gateway.http.exchange import bearer, json_response, read_object
from gateway.http.openai_reply import Chunks, completion
from gateway.http.openai_request import Asked, parse
from gateway.http.rpc import ALIVE, ALIVE_SECONDS, SSE_HEADERS
from gateway.http.stopping import Stopping, UnderWay
from gateway.hub import Hub
from gateway.identity.media import MediaFolder
from gateway.json_text import dumps
from gateway.stream import EventStream

SESSION_HEADER = "X-Session-Key"
LOOK_SECONDS = 0.2


class OpenAiRoutes:
    """The routes. `models` describes what there is; `max_bytes` bounds a body."""

    def __init__(
        self, *, chat: ChatMethods, hub: Hub, access: Access, turns: Turns, media: MediaFolder,
        authenticator: Authenticator, models: Callable[[], Sequence[JsonObject]], max_bytes: int,
        under_way: UnderWay,
    ) -> None:  # fmt: skip
        self._chat = chat
        self._hub = hub
        self._access = access
        self._turns = turns
        self._media = media
        self._authenticator = authenticator
        self._models = models
        self._max_bytes = max_bytes
        self._under_way = under_way

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat/completions", self.completions),
            web.get("/v1/models", self.models), web.get("/v1/models/{model}", self.model),
        ]  # fmt: skip

    async def models(self, request: web.Request) -> web.Response:
        """What may be asked for by name."""
        bearer(request, self._authenticator)
        return json_response({"object": "list", "data": [_model(entry) for entry in self._models()]})

    async def model(self, request: web.Request) -> web.Response:
        """One of them."""
        bearer(request, self._authenticator)
        for entry in self._models():
            if entry["name"] == request.match_info["model"]:
                return json_response(_model(entry))
        raise NotFound("there is no such model")

    async def completions(self, request: web.Request) -> web.StreamResponse:
        """Answer, streaming or not."""
        principal = require(bearer(request, self._authenticator), ("chat",))
        asked = parse(await read_object(request, self._max_bytes))
        reader = EventStream()
        call = Call(principal=principal, origin=reader.origin, reader=reader)
        message = await self._message(call, asked, request)
        name = asked.model or "gateway"
        try:
            with self._under_way.entered():
                if asked.stream:
                    return await self._stream(request, call, message, reader, Chunks(name, include_usage=asked.usage))
                ending = await self._whole(request, call, message)
            return json_response(completion(ending, name))
        except Stopping:  # a session of its own ends with the gateway
            raise Stopping(repeatable=message.ephemeral or message.idempotency_key is not None) from None
        finally:
            call.replied()
            self._hub.leave(reader, principal.user)

    # ------------------------------------------------------------ the message

    async def _message(self, call: Call, asked: Asked, request: web.Request) -> InboundMessage:
        media = await self._pictures(asked, call.who, passing=SESSION_HEADER not in request.headers)
        known = {str(entry["name"]) for entry in self._models()}
        options = TurnOptions(
            history=() if SESSION_HEADER in request.headers else tuple(asked.history), tools=tuple(asked.tools),
            model=asked.model if asked.model in known else None, parameters=asked.parameters,
        )  # fmt: skip
        if SESSION_HEADER not in request.headers:
            key = SessionKey(f"api:{new_id('eph')}", call.who.user)
            return self._chat.compose(call, key, asked.text, media=media, ephemeral=True, options=options)
        if not asked.text and not media:
            raise BadParameters("messages: with a session, the last one is the user's")
        found = await self._access.open(request.headers[SESSION_HEADER], call.who)
        once = request.headers.get("Idempotency-Key") or None
        if once is not None and not (once.isascii() and once.isprintable() and len(once) <= 255):
            raise BadParameters("Idempotency-Key: at most 255 printable characters")
        return self._chat.compose(call, found.key, asked.text, media=media, options=options, idempotency_key=once)

    async def _pictures(self, asked: Asked, who: Principal, *, passing: bool) -> tuple[MediaRef, ...]:
        return tuple([
            await self._media.save(data, mime=mime, name=f"image{number}", owner=who.user, passing=passing)
            for number, (mime, data) in enumerate(asked.pictures, start=1)
        ])  # fmt: skip

    # ------------------------------------------------------------ the answer

    async def _whole(self, request: web.Request, call: Call, message: InboundMessage) -> ChatDone:
        work = asyncio.ensure_future(self._chat.finish(call, message))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=LOOK_SECONDS)
                if _gone(request):
                    await self._abandon(message, message.message_id)
                    raise CallCancelled("the client left")
            ending = work.result()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        if isinstance(ending, ChatError):
            raise as_error(ending)
        return ending

    async def _stream(
        self, request: web.Request, call: Call, message: InboundMessage, reader: EventStream, chunks: Chunks
    ) -> web.StreamResponse:
        accepted = await self._chat.begin(call, message)
        out = web.StreamResponse(headers=SSE_HEADERS | {SESSION_HEADER: accepted.session.text})
        ended = False
        try:
            await out.prepare(request)
            await out.write(_line(chunks.first()))
            call.replied()
            with self._under_way.entered():
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(self._watch(request, message, accepted))
                    ended = await self._copy(out, reader, accepted, chunks)
                    watch.cancel()
        except* ConnectionError:
            pass
        except* Stopping as stopping:
            with suppress(ConnectionError):
                await out.write(_line(protocol.http_error(stopping.exceptions[0])[1]))
        finally:
            if not ended:
                await self._abandon(message, accepted.message_id)
        return out

    async def _copy(self, out: web.StreamResponse, reader: EventStream, accepted: Accepted, chunks: Chunks) -> bool:
        while True:
            try:
                packet = await reader.take(ALIVE_SECONDS)
            except Overloaded as slow:  # he does not read
                await out.write(_line(protocol.http_error(slow)[1]))
                return False
            if packet is None:
                await out.write(ALIVE)
                continue
            event = packet.event
            if getattr(event, "message_id", "") != accepted.message_id:
                continue
            if isinstance(event, ChatDelta):
                await out.write(_line(chunks.delta(event.delta)))
            elif isinstance(event, ChatDone):
                await out.write(b"".join(_line(chunk) for chunk in chunks.last(event)) + b"data: [DONE]\n\n")
                return True
            elif isinstance(event, ChatError):
                error = as_error(event)
                await out.write(_line(protocol.http_error(error)[1]))
                return True

    async def _watch(self, request: web.Request, message: InboundMessage, accepted: Accepted) -> None:
        """Break off when the client leaves while nothing is being written."""
        while not _gone(request):  # noqa: ASYNC110 - aiohttp has no event for a client that left
            await asyncio.sleep(LOOK_SECONDS)
        raise ConnectionResetError

    async def _abandon(self, message: InboundMessage, message_id: str) -> None:
        if message.ephemeral:
            with suppress(GatewayError):
                await self._turns.abort(user=message.actor.user, message_id=message_id)


def _gone(request: web.Request) -> bool:
    transport = request.transport
    return transport is None or transport.is_closing()


def _line(chunk: JsonObject) -> bytes:
    return b"data: " + dumps(chunk) + b"\n\n"


def _model(entry: JsonObject) -> JsonObject:
    return {"id": entry["name"], "object": "model", "created": 0, "owned_by": "gateway"}

"""discord.py, pointed and bounded: its gateway socket, its rate limits and its requests, with raw objects out.

Above stands `channel.py`. The SDK keeps heartbeats, resume, decompression, buckets
and multipart; taken out of its hands are the address (per client, no global is
patched), the objects (`parse.py` reads the raw ones, so that live events and
history are read alike and no cache of guilds is held), the pace of reconnecting
(the SDK backs off up to 17 minutes) and waiting for a rate limit (longer than
`BLOCKING_SECONDS` it is the delivery stage's to wait, with the newest text).

This is where the SDK is imported.
"""

import asyncio
import io
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeAlias

import aiohttp
import discord
import yarl
from discord.gateway import DiscordWebSocket, ReconnectWebSocket
from discord.http import HTTPClient, Route

from channels.downloads import read_at_most

_log = logging.getLogger("channels.discord")
logging.getLogger("discord").setLevel(logging.INFO)  # below that it writes down what people say
discord.VoiceClient.warn_nacl = discord.VoiceClient.warn_dave = False  # nobody speaks here

Object: TypeAlias = dict[str, Any]
Handler: TypeAlias = Callable[[Object], None]

BLOCKING_SECONDS = 1.0
REQUEST_SECONDS = 15.0
_FIRST_DELAY, _LONGEST_DELAY = 0.25, 30.0
_STABLE_SECONDS = 5.0
UPLOAD_SECONDS = 120.0


class ServerTrouble(discord.DiscordException):
    """Certainly not done, try again: Discord answers 5xx (over which the SDK would sleep up to 25 s), or we closed."""


async def _no_patience(session: object, context: object, answer: aiohttp.TraceRequestEndParams) -> None:
    if answer.response.status >= 500:
        raise ServerTrouble(f"Discord answers {answer.response.status}")


def _trace() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(_no_patience)
    return trace


class _Http(HTTPClient):
    """The SDK's requests, at another server of the same API where one is set."""

    def __init__(self, loop: asyncio.AbstractEventLoop, base: str | None) -> None:
        super().__init__(loop, http_trace=_trace())
        self._base = base
        self.max_ratelimit_timeout = BLOCKING_SECONDS

    async def request(self, route: Route, **arguments: Any) -> Any:
        if self._base is not None:
            route.url = self._base + route.url.removeprefix(Route.BASE)
        async with asyncio.timeout(UPLOAD_SECONDS if arguments.get("files") else REQUEST_SECONDS):
            return await super().request(route, **arguments)


class GatewayClient(discord.Client):
    """One bot's connection. `handlers` get the raw `d` of the gateway's events, by event name, in order.

    `state` is told `True` when the socket is up (again), `False` with a reason when it is lost.
    """

    def __init__(
        self,
        *,
        api_url: str | None,
        handlers: Mapping[str, Handler],
        state: Callable[[bool, str], None],
        silence_seconds: float,
    ) -> None:
        self._base = api_url.rstrip("/") if api_url else None
        self._raw_handlers = handlers
        self._tell = state
        self._gateway: yarl.URL | None = None
        super().__init__(
            intents=wanted_intents(),
            max_messages=None,
            chunk_guilds_at_startup=False,
            member_cache_flags=discord.MemberCacheFlags.none(),
            heartbeat_timeout=silence_seconds,
            guild_ready_timeout=0.1,
        )

    def _get_state(self, **options: Any) -> Any:
        """The SDK's own hook for another connection state: its parsers give way to ours."""
        self.http = _Http(self.loop, self._base)
        state = super()._get_state(**options)
        sdk_ready = state.parsers["READY"]

        def ready(data: Any) -> None:
            sdk_ready(data)
            _guarded("READY", self._raw_handlers["READY"])(data)
            self._tell(True, "")

        for name in ("GUILD_CREATE", "GUILD_DELETE", "THREAD_CREATE", "MESSAGE_CREATE", "MESSAGE_UPDATE",
                     "MESSAGE_REACTION_ADD", "INTERACTION_CREATE"):  # fmt: skip
            state.parsers[name] = _guarded(name, self._raw_handlers.get(name, _ignore))
        state.parsers["READY"] = ready
        state.parsers["RESUMED"] = lambda data: self._tell(True, "")
        return state

    async def open(self, token: str) -> str:
        """Check the token and ask where the socket is; the bot's own id. Raises what the SDK raises."""
        await self.login(token)
        await self._ask_gateway()
        assert self.user is not None
        return str(self.user.id)

    async def _ask_gateway(self) -> None:
        answer = await self.call("GET", "/gateway")
        self._gateway = yarl.URL(answer["url"])

    async def connect(self, *, reconnect: bool = True) -> None:
        """Hold the socket: resume what can be resumed, identify anew where not, until a refusal for good."""
        clock = asyncio.get_running_loop().time
        url, session, sequence, initial = self._gateway, None, None, True
        failures = 0
        live: DiscordWebSocket | None = None
        while not self.is_closed():
            opened = None
            try:
                opening = DiscordWebSocket.from_client(
                    self, initial=initial, gateway=url, session=session, sequence=sequence, resume=session is not None
                )
                self.ws = live = await asyncio.wait_for(opening, timeout=30.0)
                opened, initial = clock(), False
                while True:
                    await live.poll_event()
            except ReconnectWebSocket as again:
                self._tell(False, "the gateway connection was lost, resuming")
                session = sequence = None
                url = self._gateway
                if again.resume and live is not None and live.session_id is not None:
                    session, sequence, url = live.session_id, live.sequence, live.gateway
            except discord.ConnectionClosed as closed:
                if closed.code != 1000:
                    raise
            except (OSError, aiohttp.ClientError, discord.HTTPException, ServerTrouble) as error:
                self._tell(False, f"cannot reach the gateway: {type(error).__name__}")
                url = self._gateway
            failures = 0 if opened is not None and clock() - opened > _STABLE_SECONDS else failures + 1
            if failures > 1:
                await asyncio.sleep(
                    min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(failures, 8)) * random.uniform(0.5, 1.0)
                )

    async def before_identify_hook(self, shard_id: int | None, *, initial: bool = False) -> None:
        """Identifying again: one session may do so every 5 seconds on Discord itself."""
        if not initial and self._base is None:
            await asyncio.sleep(5.0)

    async def call(
        self,
        method: str,
        path: str,
        words: Mapping[str, str] = MappingProxyType({}),
        *,
        body: Any = None,
        file: discord.File | None = None,
    ) -> Any:
        """One request; `words` fill `path` and tell the buckets apart. Raises what the SDK raises, and TimeoutError."""
        if self.is_closed():
            raise ServerTrouble("the connection to Discord is closed")
        route = Route(method, path, **words)
        if file is not None:
            form: list[Object] = [
                {"name": "payload_json", "value": discord.utils._to_json(body)},
                {"name": "files[0]", "value": file.fp, "filename": file.filename,
                 "content_type": "application/octet-stream"},
            ]  # fmt: skip
            return await self.http.request(route, files=[file], form=form)
        if body is None:
            return await self.http.request(route)
        return await self.http.request(route, json=body)

    def dispatch(self, event: str, /, *args: Any, **kwargs: Any) -> None:
        """Nobody listens to the SDK's own events."""


def wanted_intents() -> discord.Intents:
    """Guilds and threads, messages with their content, private messages, reactions."""
    intents = discord.Intents.none()
    intents.guilds = True
    intents.messages = True
    intents.reactions = True
    intents.message_content = True
    return intents


def _guarded(name: str, handler: Handler) -> Handler:
    """What `handler` raises would end the connection, and an odd event comes again on the next one."""

    def handle(data: Object) -> None:
        try:
            handler(data)
        except Exception:  # whatever is odd about it, it costs itself and no other event
            _log.exception("an event %s of discord could not be read", name)

    return handle


def _ignore(data: Object) -> None:
    return None


class Downloads:
    """Files from the CDN, never more than asked for."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def fetch(self, url: str, limit: int) -> bytes:
        """The file at `url`. Raises TooLarge above `limit` bytes, aiohttp's errors, TimeoutError."""
        if self._closed:
            raise aiohttp.ClientConnectionError("the channel is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=120, sock_read=30))
        async with self._session.get(url, raise_for_status=True) as answer:
            return await read_at_most(answer, limit)

    async def close(self) -> None:
        """Let go of the connections, for good."""
        self._closed = True
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()


def attachment(data: bytes, name: str) -> discord.File:
    """A file to upload."""
    return discord.File(io.BytesIO(data), filename=name)


__all__: Sequence[str] = ["Downloads", "GatewayClient", "attachment", "wanted_intents"]

"""The long connection's socket: asks where it is, holds it, pings, and comes back when it is lost.

The thin shell around `link.py`. Unlike the SDK's client it lives in the gateway's
loop, never blocks it, and ends when it is cancelled. What an event means is
`channel.py`'s; it answers through `respond` when it is done.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlsplit

import aiohttp

from channels.errors import ChannelAuthFailed, ChannelError, ChannelUnavailable
from channels.feishu.api import REQUEST_SECONDS, FeishuApi, lost, refusal
from channels.feishu.link import Event, Link, answer

Object: TypeAlias = dict[str, Any]
Respond: TypeAlias = Callable[[int, Object | None], Awaitable[None]]
Handle: TypeAlias = Callable[[Object, Respond], None]

_BUSY = frozenset({1, 1000040343, 1000040350})
"""Server busy, server error, too many connections: later again."""
_FIRST_DELAY, _LONGEST_DELAY = 0.25, 30.0
_STABLE_SECONDS = 5.0
_MAX_FRAME = 8 << 20


class Connection:
    """`state` is told True when the connection stands, False with a reason when it is lost.

    `silence_seconds`: WebSocket pings go out so often; one unanswered for half of it ends the connection.
    """

    def __init__(
        self,
        api: FeishuApi,
        secret: str,
        handle: Handle,
        state: Callable[[bool, str], None],
        silence_seconds: float = 20.0,
    ) -> None:
        self._api = api
        self._secret = secret
        self._handle = handle
        self._state = state
        self._silence_seconds = silence_seconds

    async def run(self) -> None:
        """Hold a connection until cancelled. Raises ChannelAuthFailed."""
        failures = 0
        while True:
            began = time.monotonic()
            try:
                url, ping_seconds = await self._endpoint()
                await self._hold(url, ping_seconds)
                self._state(False, "the long connection was lost")
            except ChannelAuthFailed:
                raise
            except ChannelError as error:
                self._state(False, error.reason)
            failures = 0 if time.monotonic() - began > _STABLE_SECONDS else failures + 1
            if failures > 1:
                delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(failures, 8))
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))

    async def _endpoint(self) -> tuple[str, float]:
        """Where the socket is, and how often to ping. Raises channels.errors."""
        body = {"AppID": self._api.app_id, "AppSecret": self._secret}
        url = f"{self._api.domain}/callback/ws/endpoint"
        try:
            async with (
                asyncio.timeout(REQUEST_SECONDS),
                self._api.session.post(url, json=body, headers={"locale": "zh"}) as reply,
            ):
                if reply.status != 200:
                    raise ChannelUnavailable(f"Feishu answers {reply.status} when asked for the long connection")
                found = await reply.json(content_type=None)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise lost(error) from error
        if not isinstance(found, dict) or "code" not in found:
            raise ChannelUnavailable("somebody else answers in Feishu's place: a proxy, a login page")
        code = int(found["code"])
        if code in _BUSY:
            raise ChannelUnavailable(f"Feishu gives no long connection now (code {code})")
        if code != 0:
            raise _refused(code)
        config = found["data"].get("ClientConfig") or {}
        return str(found["data"]["URL"]), float(config.get("PingInterval") or 120)

    async def _hold(self, url: str, ping_seconds: float) -> None:
        """One connection, until it ends. Raises channels.errors where it does not come about."""
        service = int((parse_qs(urlsplit(url).query).get("service_id") or ["0"])[0])
        link = Link(service, ping_seconds)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                socket = await self._api.session.ws_connect(
                    url, heartbeat=self._silence_seconds, max_msg_size=_MAX_FRAME, compress=0,
                    timeout=aiohttp.ClientWSTimeout(ws_close=2.0),
                )  # fmt: skip
        except aiohttp.WSServerHandshakeError as error:
            raise _handshake(error) from error
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise lost(error) from error
        pinging = asyncio.get_running_loop().create_task(_ping(socket, link))
        try:
            self._state(True, "")
            async for message in socket:
                if message.type is aiohttp.WSMsgType.BINARY:
                    event = link.receive(message.data, time.monotonic())
                    if event is not None:
                        self._handle(event.payload, _responder(socket, event))
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)
            await socket.close()


async def _ping(socket: aiohttp.ClientWebSocketResponse, link: Link) -> None:
    while not socket.closed:
        try:
            await socket.send_bytes(link.ping())
        except ConnectionError:
            return
        await asyncio.sleep(link.ping_seconds)


def _responder(socket: aiohttp.ClientWebSocketResponse, event: Event) -> Respond:
    async def respond(code: int, data: Object | None) -> None:
        try:
            await socket.send_bytes(answer(event, code, data))
        except ConnectionError:
            return  # Feishu sends it again, and it will be known

    return respond


def _refused(code: int) -> ChannelError:
    error = refusal(code, 200, {})
    if isinstance(error, ChannelAuthFailed):
        return error
    return ChannelAuthFailed(f"Feishu refuses the long connection (code {code}): is the app published, and its event "
                             "subscription set to the long connection?")  # fmt: skip


def _handshake(error: aiohttp.WSServerHandshakeError) -> ChannelError:
    headers: Mapping[str, str] = error.headers or {}
    status, detail = headers.get("handshake-status"), headers.get("handshake-autherrcode")
    if status == "403" or (status == "514" and detail != "1000040350"):
        return ChannelAuthFailed(f"Feishu refuses the long connection (handshake {status})")
    return ChannelUnavailable(f"Feishu refuses the long connection for now (handshake {status or error.status})")

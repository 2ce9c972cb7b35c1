"""The tunnel's client: dials the gateway, and keeps a link to it for as long as the bridge runs.

Above is `app.py`; below, `protocol` (the machine), `websockets` (the socket), `calls.py` (what is done with a
call). It reconnects with full jitter, stops where the gateway says that coming back is no use, and on a drain has
the new link before it leaves the old one. What a call means is not known here.
"""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from pydantic import SecretStr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidProxyStatus, InvalidStatus, InvalidURI

from bridge.calls import Calls
from bridge.connection import WRITE_LIMIT, Connection, Ended
from bridge.errors import BridgeError
from bridge.ports import Executor, JsonObject
from bridge.protocol.bridge_effects import BridgeIdentity
from bridge.protocol.frames import FINAL_CLOSES, FORBIDDEN, MAX_FRAME_BYTES, NOT_AUTHENTICATED
from bridge.protocol.outbox import Outbox
from bridge.proxies import proxy_of
from bridge.settings import LinkSettings, is_loopback_url
from bridge.socket import TunnelSocket

LONGEST_SECONDS = 30.0
SHORTEST_SECONDS = 0.5
HEALTHY_SECONDS = 60.0
_OPEN_SECONDS = 15.0
_LAST_ANSWERS_SECONDS = 1.0
_FINAL_STATUS = {401: "the gateway does not accept the token", 403: "the gateway forbids the tunnel"}

LinkState: TypeAlias = Literal["connecting", "connected", "waiting", "draining", "stopped"]


class TunnelRefused(Exception):
    """The gateway said something after which coming back is no use. The program exits 3 with this reason.

    `token` where it is about a token that the gateway has never accepted.
    """

    def __init__(self, reason: str, code: int, *, token: bool = False) -> None:
        super().__init__(reason)
        self.code = code
        self.token = token


class _NoRedirects(connect):
    """A redirect could carry the token to somebody else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


@dataclass(slots=True)
class LinkStatus:
    """For `ai-bridge status`. `since` is seconds since the epoch."""

    state: LinkState
    since: float
    reason: str = ""


def backoff(attempt: int, first: float, pick: Callable[[], float] = random.random) -> float:
    """Seconds before the attempt `attempt` (from 0): full jitter under a bound that doubles to 30 s."""
    bound = min(LONGEST_SECONDS, first * 2.0 ** min(attempt, 30))
    return max(pick() * bound, min(SHORTEST_SECONDS, bound / 2))


class Tunnel:
    """One bridge's link. `run` lives until cancelled; `rotate` gives it another token without a reconnect."""

    def __init__(
        self, settings: LinkSettings, identity: BridgeIdentity, calls: Calls, executor: Executor, outbox: Outbox,
        *, changed: Callable[[LinkStatus], None] = lambda status: None, healthy_seconds: float = HEALTHY_SECONDS,
    ) -> None:  # fmt: skip
        if settings.url is None or settings.token is None:
            raise ValueError("a tunnel needs a url and a token")
        if settings.url.startswith("ws://") and not is_loopback_url(settings.url):
            raise TunnelRefused("ws:// is only for this machine: use wss://", 3)
        self._url = settings.url
        self._token: SecretStr = settings.token
        self._accepted: str | None = None
        """The token with which the last link was up."""
        self._first = settings.reconnect_interval
        self._identity = identity
        self._calls = calls
        self._executor = executor
        self._outbox = outbox
        self._changed = changed
        self._healthy = healthy_seconds
        self._current: Connection | None = None
        self._all: set[Connection] = set()
        self.status = LinkStatus("connecting", time.time())
        calls.uplink = self

    # ------------------------------------------------------------ what `calls` sends

    def answered(self, call_id: str) -> None:
        if self._current is not None:
            self._current.answered(call_id)

    def progress(self, call_id: str, payload: JsonObject) -> None:
        if self._current is not None:
            self._current.progress(call_id, payload)

    def flush(self) -> None:
        if self._current is not None:
            self._current.flush()

    def refuse(self, error: BridgeError) -> None:
        if self._current is not None:
            self._current.refuse(error)

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Keep a link up until cancelled. Raises TunnelRefused where coming back is no use."""
        stop_watching = self._executor.watch(self._announce)
        refused: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                await self._keep(group)
        except* TunnelRefused as several:  # what is raised in here is a group again before Python 3.11.4
            refused += several.exceptions
        finally:
            stop_watching()
            for connection in self._all:
                connection.abort()
        if refused:
            self._say("stopped", str(refused[0]))
            raise refused[0]

    def rotate(self, token: SecretStr) -> None:
        """Use another token, on the live link at once."""
        self._token = token
        if self._current is not None:
            self._current.rotate(token.get_secret_value())

    async def leave(self, seconds: float) -> None:
        """Before a clean stop: take no more calls, and let those that run finish within `seconds`."""
        self._say("draining")
        if self._current is not None:
            self._current.goaway()
        await self._calls.drain(seconds)
        until = time.monotonic() + min(seconds, _LAST_ANSWERS_SECONDS)
        while self._outbox.answers and self._current is not None and time.monotonic() < until:  # noqa: ASYNC110 - rare
            await asyncio.sleep(0.02)  # what is not acknowledged now is sent again after the next start
        if self._current is not None:
            await self._current.close()

    async def _keep(self, group: asyncio.TaskGroup) -> None:
        attempt = 0
        old: Connection | None = None
        while True:
            connection, wait = await self._dial(group)
            if connection is not None:
                self._say("connected")
                if old is not None:
                    group.create_task(old.close())
                since = time.monotonic()
                self._announce()
                self._calls.announce_questions()
                ended = await connection.ended_or_drained()
                self._accepted = connection.accepted
                if time.monotonic() - since >= self._healthy:
                    attempt = 0
                if not ended.over:
                    old = connection  # it drains: dial anew, and keep this one meanwhile
                    self._say("draining", ended.reason)
                    wait = random.random() * ended.after
                    if wait:
                        await asyncio.sleep(wait)
                    continue
                reason = self._unless_final(ended, dialled=False)
                wait = ended.after
                if self._current is connection:
                    self._current = None
                self._say("waiting", reason)
            if old is not None and old.over:
                if self._current is old:
                    self._current = None
                old = None
            await asyncio.sleep(max(wait, backoff(attempt, self._first)))
            attempt += 1

    def _unless_final(self, ended: Ended, *, dialled: bool) -> str:
        """Why a link ended. Raises TunnelRefused where coming back is no use.

        A new token is tried on a link of its own, since a live one stays with its user; refused there, it gives way
        to the one that worked.
        """
        reason = FINAL_CLOSES.get(ended.code)
        if reason is None:
            return ended.reason
        why = f"{reason} ({ended.reason})" if ended.reason else reason
        accepted = self._accepted
        about_token = ended.code in (NOT_AUTHENTICATED, FORBIDDEN)
        if not about_token or accepted in (None, self._token.get_secret_value()):
            raise TunnelRefused(why, ended.code, token=about_token and accepted is None)
        if dialled and accepted is not None:
            self._token = SecretStr(accepted)
            return f"the new token is not used: {why}"
        return why

    async def _dial(self, group: asyncio.TaskGroup) -> tuple[Connection | None, float]:
        """One attempt: a link that was welcomed, or None and the seconds the server asked for."""
        if self._current is None:
            self._say("connecting")
        try:
            socket = await _NoRedirects(
                self._url, proxy=proxy_of(self._url), compression=None, max_size=2 * MAX_FRAME_BYTES,
                ping_interval=None, open_timeout=_OPEN_SECONDS, close_timeout=2, write_limit=WRITE_LIMIT,
                create_connection=TunnelSocket,
            )  # fmt: skip
        except InvalidURI as error:
            raise TunnelRefused(f"the gateway's address is no WebSocket URL: {self._url}", 3) from error
        except InvalidStatus as error:
            status = error.response.status_code
            if status in _FINAL_STATUS:
                raise TunnelRefused(_FINAL_STATUS[status], status, token=self._accepted is None) from error
            self._say("waiting", f"the gateway answered {status}")
            return None, _retry_after(error.response.headers.get("Retry-After"))
        except (OSError, InvalidHandshake, InvalidProxy, TimeoutError) as error:
            self._say("waiting", _why(error))
            return None, 0.0
        assert isinstance(socket, TunnelSocket)
        connection = Connection(
            socket, self._identity, self._token.get_secret_value(), self._calls, self._outbox, self._take
        )  # fmt: skip
        self._all.add(connection)
        task = group.create_task(connection.run())
        task.add_done_callback(lambda _: self._all.discard(connection))
        ended = await connection.welcomed()
        if ended is None:
            return connection, 0.0
        self._say("waiting", self._unless_final(ended, dialled=True) or "the gateway closed the link")
        return None, ended.after

    def _take(self, connection: Connection) -> None:
        """The gateway accepted the token: from now on everything goes this way."""
        self._current = connection

    def _announce(self) -> None:
        """Tell the gateway which tools there are."""
        if self._current is not None:
            self._current.tools(self._executor.catalogue())

    def _say(self, state: LinkState, reason: str = "") -> None:
        if (state, reason) != (self.status.state, self.status.reason):
            self.status = LinkStatus(state, time.time(), reason)
            self._changed(self.status)


def _retry_after(value: str | None) -> float:
    """Seconds of a `Retry-After` header (RFC 9110, 10.2.3: a number, or a date), at most an hour."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return min(3600.0, float(text))
    from email.utils import parsedate_to_datetime  # rarely wanted, and as large as all of this

    try:
        return min(3600.0, max(0.0, parsedate_to_datetime(text).timestamp() - time.time()))
    except (TypeError, ValueError, OverflowError):
        return 0.0


def _why(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "the gateway did not answer in time"
    if isinstance(error, InvalidProxyStatus):
        return f"the proxy answered {error.response.status_code}"
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens at the gateway's address"
    return f"the gateway can't be reached ({type(error).__name__})"

"""A connection to a gateway that goes on after a drop, in mid word.

JSON-RPC over one WebSocket (`websockets`), the token in the header and never in the
URL. `run` keeps the connection until it is cancelled or refused; `events` are those of
the session, each once. Above: `once.py` and `interactive.py`. This module draws nothing.
"""

import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from typing import Any

from channels.cli.follow import Event, Follower, from_history
from channels.cli.words import language

FIRST_DELAY, MOST_DELAY = 0.25, 10.0
FINAL_CLOSE_CODES = frozenset({4501, 4503, 4505, 4509})
AGAIN_SECONDS = 0.02
CALL_SECONDS = 60.0
UNKNOWN_SESSION, TOO_LARGE, EVENTS_GONE = 1003, 1006, 1010


class LinkRefused(Exception):
    """The gateway does not want this client; the message says why."""


class LinkUnreachable(LinkRefused):
    """Nobody answers at the address, or not any more."""


class LinkLost(Exception):
    """The connection went away before the answer came; the caller may ask again."""


class RpcFailed(Exception):
    """The gateway answered with an error."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message
        self.data = data if isinstance(data, dict) else {}


class Link:
    """One client of one gateway, following one session.

    `changed` is called with True when the connection stands, with False when it is lost.
    """

    def __init__(self, url: str, token: str, *, certificate: Any = None, patience: float | None = None) -> None:
        """`patience`: how many seconds a lost connection may stay lost; None for ever. The first must stand at once."""
        self.url = url
        self.welcome: dict[str, Any] = {}
        self.session = ""
        self.follower = Follower()
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.changed: Callable[[bool], None] = lambda _connected: None
        self._token = token
        self._ssl = certificate
        self._patience = patience
        self._socket: Any = None
        self._calls: dict[int, asyncio.Future[Any]] = {}
        self._next_id = 0
        self._ready = asyncio.Event()
        self._ours: str | None = None
        """The turn that is being waited for."""
        self._said: dict[str, Any] = {}
        """What was said for it."""

    # ------------------------------------------------------------ the connection

    async def run(self) -> None:
        """Stay connected until cancelled. Raises LinkRefused, or where patience runs out."""
        delay, since = FIRST_DELAY, time.monotonic()
        while True:
            try:
                await self._serve()
            except OSError as error:
                known = (error.errno or 0) > 0  # asyncio puts the address and the number into its own sentence
                reason = (
                    os.strerror(error.errno or 0) if known else error.strerror or str(error) or type(error).__name__
                )
            else:
                reason, delay, since = "the connection was closed", FIRST_DELAY, time.monotonic()
            self._drop()
            patience = self._patience if self.welcome else 0
            if patience is not None and time.monotonic() - since >= patience:
                raise LinkUnreachable(f"cannot reach {self.url}: {reason}")
            await asyncio.sleep(random.uniform(0, delay))
            delay = min(delay * 2, MOST_DELAY)

    async def _serve(self) -> None:
        from websockets.asyncio.client import connect
        from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

        headers = {"Accept-Language": language()}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        options: dict[str, Any] = {"ssl": self._ssl} if self._ssl is not None else {}
        try:
            async with connect(
                self.url, additional_headers=headers, compression=None, max_size=2**25, max_queue=256, proxy=None,
                open_timeout=10, close_timeout=2, **options,
            ) as socket:  # fmt: skip
                self._socket = socket
                ends: list[BaseException] = []
                try:
                    async with asyncio.TaskGroup() as tasks:
                        tasks.create_task(self._greet())
                        await self._read(socket)
                except* (ConnectionClosed, RpcFailed, LinkLost) as several:
                    ends += several.exceptions  # what is raised in here is a group again before Python 3.11.4
                for end in ends:
                    if isinstance(end, ConnectionClosed):
                        self._judge(end)
                    elif isinstance(end, RpcFailed):
                        self._unwelcome(end)
        except InvalidStatus as error:
            status = error.response.status_code
            if status in (401, 403):
                why = "not authenticated: is the token right?" if status == 401 else "forbidden"
                raise LinkRefused(f"{self.url}: {why}") from None
            raise OSError(f"HTTP {status}") from None
        except InvalidURI:
            raise LinkRefused(f"{self.url} is not a WebSocket address (ws://… or wss://…)") from None
        except InvalidHandshake as error:
            raise OSError(str(error)) from None

    def _judge(self, closed: Any) -> None:
        code = closed.rcvd.code if closed.rcvd is not None else 1006
        if code in FINAL_CLOSE_CODES:
            raise LinkRefused(f"the gateway closed the connection: {closed.rcvd.reason or code}")

    def _unwelcome(self, failed: Any) -> None:
        if failed.data.get("retryable"):
            raise OSError(failed.message)
        raise LinkRefused(str(failed))

    async def _read(self, socket: Any) -> None:
        async for frame in socket:
            message = json.loads(frame)
            for part in message if isinstance(message, list) else [message]:
                self._receive(part)
        raise LinkLost  # a normal close: the tasks beside are to end too

    def _receive(self, message: dict[str, Any]) -> None:
        if message.get("method") == "event":
            event = message.get("params") or {}
            if event.get("session_key") not in (None, self.session):
                return
            news = self.follower.take(event)
            if news is not None:
                self.events.put_nowait(news)
            return
        waiting = self._calls.pop(message.get("id") or 0, None)
        if waiting is None or waiting.done():
            return
        if "error" in message:
            error = message["error"]
            waiting.set_exception(RpcFailed(error.get("code", 0), str(error.get("message", "")), error.get("data")))
        else:
            waiting.set_result(message.get("result"))

    async def _greet(self) -> None:
        """Say who we are, learn who we are taken for, and go on where we were."""
        self.welcome = await self._call("connect", {"token": self._token})
        if not self.session:
            self.session = f"agent:main:cli:direct:{self.welcome['user']}"
        await self._subscribe()
        self._ready.set()
        self.changed(True)

    async def _subscribe(self) -> None:
        seen = self.follower.last_seq
        params: dict[str, Any] = {"session_key": self.session}
        try:
            result = await self._call("session.subscribe", {**params, "after_seq": seen} if seen else params)
        except RpcFailed as error:
            if error.code == UNKNOWN_SESSION:
                return  # it comes into being with the first message
            if error.code != EVENTS_GONE:
                raise
            result = await self._call("session.subscribe", params)
            await self._from_history()
        if not seen:
            self.follower.last_seq = max(self.follower.last_seq, int(result.get("last_seq") or 0))

    async def _from_history(self) -> None:
        if self._ours is None:
            return
        history = await self._call("chat.history", {"session_key": self.session, "limit": 200})
        done = from_history(history["messages"], self._ours, self.session)
        if done is not None:
            self.events.put_nowait(done)
        else:  # said again under its key it is told its end, should that have come: no history has an error
            await self._call("chat.send_stream", self._said)

    def _drop(self) -> None:
        was = self._ready.is_set()
        self._ready.clear()
        self._socket = None
        for waiting in self._calls.values():
            if not waiting.done():
                waiting.set_exception(LinkLost())
                waiting.exception()  # nobody may be waiting any more
        self._calls.clear()
        if was:
            self.changed(False)

    # ------------------------------------------------------------ calls

    async def ready(self) -> None:
        """Wait until the connection stands."""
        await self._ready.wait()

    async def call(self, method: str, **params: Any) -> Any:
        """The result of `method`. Raises RpcFailed, and LinkLost where it may be asked again."""
        await self._ready.wait()
        return await self._call(method, params)

    async def _call(self, method: str, params: dict[str, Any]) -> Any:
        socket = self._socket
        if socket is None:
            raise LinkLost
        self._next_id += 1
        number = self._next_id
        waiting = self._calls[number] = asyncio.get_running_loop().create_future()
        try:
            await socket.send(self._frame({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
            async with asyncio.timeout(CALL_SECONDS):
                return await waiting
        except OSError as error:
            raise LinkLost from error
        except Exception as error:  # websockets, whose error it may be, is imported only in `_serve`
            if type(error).__name__.startswith("ConnectionClosed"):
                raise LinkLost from error
            raise
        finally:
            self._calls.pop(number, None)

    def _frame(self, request: dict[str, Any]) -> str:
        """The text of a request. Raises RpcFailed (1006) for one that the gateway would close the connection over."""
        frame = json.dumps(request, ensure_ascii=False).encode("utf-8", "replace")  # a key may have been no text
        most = (self.welcome.get("limits") or {}).get("max_message_bytes")
        if most and len(frame) > most:
            raise RpcFailed(TOO_LARGE, f"that is too long to be said: a message has at most {most} bytes here")
        return frame.decode()

    async def send(self, text: str, idempotency_key: str) -> str:
        """Say `text`; the message id, once it is durable. After a drop it is repeated under the same key."""
        while True:
            await self.ready()  # until then the session may have no name
            try:
                said = {"text": text, "session_key": self.session, "idempotency_key": idempotency_key}
                result = await self.call("chat.send_stream", **said)
            except LinkLost:
                # A socket that has just closed refuses at once: without a pause nobody would come to notice it.
                await asyncio.sleep(AGAIN_SECONDS)
                continue
            message_id = str(result["message_id"])
            self._ours, self._said = message_id, said
            return message_id

    async def abort(self) -> None:
        """Stop the answer in progress; a lost connection or nothing to stop is no matter."""
        try:
            async with asyncio.timeout(5):
                await self.ready()
                await self.call("chat.abort", session_key=self.session)
        except (LinkLost, RpcFailed, TimeoutError):
            pass

"""A whole gateway inside the test's loop on a free loopback port, and clients that send exactly what they are told."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import websockets

from agent.llm import demo
from gateway.app import Stop, serve
from gateway.settings import GatewaySettings, Loaded

TOKENS = {
    "alice": "alice-token-0123456789abcdef0123456789", "bob": "bob-token-0123456789abcdef0123456789ab",
    "root": "root-token-0123456789abcdef0123456789", "boss": "boss-token-0123456789abcdef0123456789",
    "robot": "robot-token-0123456789abcdef012345678", "eye": "eye-token-0123456789abcdef0123456789ab",
}  # fmt: skip
ROLES = {"alice": "user", "bob": "user", "root": "owner", "boss": "admin", "robot": "service", "eye": "viewer"}


class Running:
    """A gateway that serves. `lines` is what it said at the start."""

    def __init__(self, home: Path, settings: GatewaySettings) -> None:
        self.home = home
        self.settings = settings
        self.lines: list[str] = []
        self.stop = Stop()
        self.http: aiohttp.ClientSession
        self._ready = asyncio.Event()

    def say(self, line: str) -> None:
        self.lines.append(line)
        if line.startswith("token"):
            self._ready.set()

    @property
    def url(self) -> str:
        return next(line for line in self.lines if line.startswith("web")).split()[1].split("/#")[0]

    @property
    def login_code(self) -> str:
        return next(line for line in self.lines if line.startswith("web")).split()[1].split("#login=")[1]

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    @property
    def ws(self) -> str:
        return "ws" + self.url.removeprefix("http") + "/ws"

    async def rpc(self, method: str, who: str = "root", **params: Any) -> Any:
        """The response to one request over HTTP."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        async with self.http.post(self.url + "/api/v1/rpc", json=body, headers=bearer(who)) as response:
            return await response.json()

    @contextlib.asynccontextmanager
    async def client(self, who: str | None = "alice", **options: Any) -> AsyncIterator["Wire"]:
        """A WebSocket with that person's header, or without one."""
        headers = dict(options.pop("additional_headers", {}))
        if who is not None:
            headers |= bearer(who)
        async with websockets.connect(
            self.ws,
            additional_headers=headers,
            proxy=None,
            max_size=None,
            max_queue=None,
            compression=None,
            **options,
        ) as socket:
            yield Wire(socket)


def bearer(who: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS.get(who, who)}"}


@contextlib.asynccontextmanager
async def running(home: Path, *, pace: float = 0.003, **configuration: Any) -> AsyncIterator[Running]:
    """A gateway in this loop, whose demo model takes `pace` seconds a word; stopped in the end."""
    configuration.setdefault("server", {}).setdefault("port", 0)
    configuration.setdefault("auth", {"tokens": [{"user": u, "role": ROLES[u], "token": t} for u, t in TOKENS.items()]})
    configuration.setdefault("limits", {}).setdefault("drain_seconds", 0.1)
    settings = GatewaySettings.model_validate(configuration)
    gateway = Running(home, settings)
    demo.DemoModel.__init__.__defaults__ = (pace,)
    task = asyncio.get_running_loop().create_task(
        serve(Loaded(settings=settings, source=None, home=home), gateway.say, gateway.stop)
    )
    ready = asyncio.get_running_loop().create_task(gateway._ready.wait())
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        ready.cancel()
        raise AssertionError(f"it did not start: {task.result()}")
    async with aiohttp.ClientSession() as gateway.http:
        try:
            yield gateway
        finally:
            gateway.stop.asked.set()
            async with asyncio.timeout(15):
                assert await task == 0


class Wire:
    """One socket. Whatever comes in while something else is awaited is kept, in order."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.frames: list[Any] = []
        self.events: list[dict[str, Any]] = []
        self._numbers = itertools.count(1)

    async def send(self, what: Any) -> None:
        """Text as it is, anything else as JSON."""
        await self.socket.send(what if isinstance(what, str | bytes) else json.dumps(what))

    async def frame(self, seconds: float = 10) -> Any:
        """The next frame that is no event."""
        if self.frames:
            return self.frames.pop(0)
        async with asyncio.timeout(seconds):
            while True:
                event, found = await self._read()
                if not event:
                    return found

    async def _read(self) -> tuple[bool, Any]:
        """The very next frame: whether it is an event, and what it says. An event is kept."""
        found = json.loads(await self.socket.recv())
        if not (isinstance(found, dict) and found.get("method") == "event"):
            return False, found
        self.events.append(found["params"])
        return True, found["params"]

    async def raw(self, seconds: float = 10) -> Any:
        """The very next frame."""
        async with asyncio.timeout(seconds):
            return json.loads(await self.socket.recv())

    async def ask(self, method: str, /, **params: Any) -> Any:
        """The whole response to one request."""
        number = next(self._numbers)
        await self.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        while True:
            found = await self.frame()
            if isinstance(found, dict) and found.get("id") == number:
                return found
            self.frames.append(found)

    async def call(self, method: str, /, **params: Any) -> Any:
        """The result; an error fails the test."""
        found = await self.ask(method, **params)
        assert "result" in found, found
        return found["result"]

    async def code(self, method: str, /, **params: Any) -> int:
        """The error's code; 0 for a result."""
        found = await self.ask(method, **params)
        return int(found.get("error", {}).get("code", 0))

    async def event(self, *types: str, seconds: float = 10, message_id: str | None = None) -> dict[str, Any]:
        """The first event of one of these types, kept or coming."""

        def fits(event: dict[str, Any]) -> bool:
            return event["type"] in types and message_id in (None, event.get("message_id"))

        for event in self.events:
            if fits(event):
                return event
        async with asyncio.timeout(seconds):
            while True:
                event, found = await self._read()
                if not event:
                    self.frames.append(found)
                elif fits(found):
                    return dict(found)

    async def done(self, message_id: str, seconds: float = 15) -> dict[str, Any]:
        """The end of a turn."""
        return await self.event("chat.done", "chat.error", message_id=message_id, seconds=seconds)

    async def close_code(self, seconds: float = 10) -> int:
        """Read until the other side closes."""
        try:
            async with asyncio.timeout(seconds):
                while True:
                    event, found = await self._read()
                    if not event:
                        self.frames.append(found)
        except websockets.ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd is not None else 1006


async def plain(port: int, data: bytes, *, seconds: float = 5) -> bytes:
    """What comes back for raw bytes, until the other side closes or nothing comes any more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        out = b""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(seconds):
                while chunk := await reader.read(65536):
                    out += chunk
        return out
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def head(port: int, data: bytes) -> bytes:
    """The head of the answer to raw bytes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.readuntil(b"\r\n\r\n")
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def status_of(answer: bytes) -> int:
    """The status of a raw HTTP answer."""
    return int(answer.split(b" ", 2)[1])

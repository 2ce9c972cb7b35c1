"""What the tunnel's figures are taken with: a bridge's process, callers, and bridges without a process.

Thousands of bridges are `BridgeLink`s, the machine of the real one, in one process over real sockets.
"""

import asyncio
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import psutil

from bench.processes import ROOT, TOKEN, Child, environment
from bridge.protocol import BridgeIdentity, BridgeLink, Outbox, decode

TOOL_SERVER = [sys.executable, "-m", "bench.tool_server"]
WAITING = 30.0
PER_USER = 50
"""Bridges: as many as the gateway lets one user have."""


@contextlib.asynccontextmanager
async def bridge(url: str, servers: dict[str, Any]) -> AsyncIterator[Child]:
    """A bridge as a person starts it, at `url` with the bench's own token."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(
            json.dumps({
                "version": "1.0", "mcp_servers": servers, "policy": {"default": "allow"},
                "server": {"url": url.replace("http", "ws", 1) + "/tunnel", "token": TOKEN, "name": "bench"},
            })
        )  # fmt: skip
        file.chmod(0o600)
        begun = time.monotonic()
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "run", "--config", str(file), env=environment(HOME=folder), cwd=folder,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield Child(url, psutil.Process(child.pid), begun)
        finally:
            if child.returncode is None:
                child.terminate()
            await child.wait()


def stdio_server(*, idempotent: tuple[str, ...] = ("echo", "big")) -> dict[str, Any]:
    """An entry of `mcp_servers`."""
    return {
        "command": TOOL_SERVER[0], "args": TOOL_SERVER[1:], "max_in_flight": 128,
        "env": {"PYTHONPATH": f"{ROOT}"}, "tools": {"allow": ["*"], "idempotent": list(idempotent)},
    }  # fmt: skip


class Caller:
    """`tools.call` of the gateway over one WebSocket."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._number = 0

    async def open(self) -> "Caller":
        self.socket = await self._session.ws_connect(
            self._url + "/ws", compress=0, headers={"Authorization": f"Bearer {TOKEN}"}, max_msg_size=1 << 28
        )
        return self

    def request(self, method: str, **params: Any) -> str:
        self._number += 1
        return orjson.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}).decode()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        await self.socket.send_str(self.request(method, **params))
        while True:
            frame = orjson.loads((await self.socket.receive()).data)
            if "id" in frame:
                if "error" in frame:
                    raise RuntimeError(str(frame["error"]))
                return dict(frame["result"])

    async def tools_there(self, name: str) -> None:
        async with asyncio.timeout(WAITING):
            while True:
                listed = (await self.call("tools.list"))["tools"]
                if any(tool["name"] == name and tool["available"] for tool in listed):
                    return
                await asyncio.sleep(0.05)


async def large_call(url: str, tool: str, size: int) -> asyncio.subprocess.Process:
    """A process that calls `tool` and has just begun to."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.large_caller", url, tool, str(size), env=environment(), cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert child.stdout is not None
    await child.stdout.readline()
    return child


class Direct:
    """The same stdio server, called without anything in between."""

    async def __aenter__(self) -> "Direct":
        self._child = await asyncio.create_subprocess_exec(
            *TOOL_SERVER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment(),
            limit=1 << 28, cwd=ROOT,
        )  # fmt: skip
        self._number = 0
        await self.call("initialize")
        return self

    async def __aexit__(self, *_: object) -> None:
        self._child.terminate()
        await self._child.wait()

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        assert self._child.stdin is not None and self._child.stdout is not None
        self._number += 1
        self._child.stdin.write(
            orjson.dumps({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}) + b"\n"
        )
        return dict(orjson.loads(await self._child.stdout.readline())["result"])


class Light:
    """One bridge without a process: the machine over a socket of `session`."""

    def __init__(self, session: aiohttp.ClientSession, url: str, token: str, number: int) -> None:
        self._session, self._url, self._token = session, url, token
        self.outbox = Outbox()
        self._identity = BridgeIdentity(
            bridge_id=f"light-{number}", boot_id=f"boot-{number}", name=f"light-{number}",
            client={"name": "bench", "version": "1", "os": "linux"},
        )  # fmt: skip
        self.socket: aiohttp.ClientWebSocketResponse | None = None

    async def open(self) -> BridgeLink:
        """Dial and authenticate. Raises aiohttp.ClientError, ConnectionError."""
        self.link = BridgeLink(self._identity, self._token, self.outbox, time.monotonic())
        self.link.authenticate()
        self.socket = await self._session.ws_connect(self._url + "/tunnel", compress=0, max_msg_size=1 << 20)
        await self.flush()
        while not self.link.live:
            message = await self.socket.receive()
            if message.type is not aiohttp.WSMsgType.TEXT:
                raise ConnectionError("refused")
            self.link.receive(decode(message.data), time.monotonic())
        return self.link

    async def flush(self) -> None:
        assert self.socket is not None
        while (frame := self.link.next_frame()) is not None:
            await self.socket.send_frame(frame, aiohttp.WSMsgType.TEXT)


class Inside:
    """A gateway that calls tools itself (`bench/inside.py`), with a bridge of one stdio server."""

    async def __aenter__(self) -> "Inside":
        self._stack = stack = contextlib.AsyncExitStack()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        file = folder / "bench.yaml"
        file.write_text(
            f'''server: {{port: 0}}
auth: {{tokens: [{{user: bench, role: user, token: "{TOKEN}"}}]}}
logging: {{level: warning, format: json}}
'''
        )
        self._child = child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bench.inside", str(file), env=environment(GATEWAY_HOME=str(folder)), cwd=folder,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        stack.push_async_callback(self._end)
        assert child.stdout is not None
        url = f"http://127.0.0.1:{int(await child.stdout.readline())}"
        self.house = Child(url, psutil.Process(child.pid))
        self.bridge = await stack.enter_async_context(bridge(url, {"tool": stdio_server()}))
        async with aiohttp.ClientSession() as session:
            caller = await Caller(session, url).open()
            await caller.tools_there("tool_echo")
            await caller.socket.close()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _end(self) -> None:
        assert self._child.stdin is not None
        self._child.stdin.close()
        await self._child.wait()

    async def ask(self, what: str) -> float:
        """`one TOOL COUNT` or `many TOOL COUNT`."""
        assert self._child.stdin is not None and self._child.stdout is not None
        self._child.stdin.write(what.encode() + b"\n")
        return float(await self._child.stdout.readline())


@contextlib.asynccontextmanager
async def watching_canary(url: str) -> AsyncIterator[Callable[[], Awaitable[float]]]:
    """A process that calls a tool all the time; asked, it says its p99 since it was asked before."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.canary", url, env=environment(), cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, asked = child.stdout, child.stdin
    assert said is not None and asked is not None
    await said.readline()

    async def p99() -> float:
        await asyncio.sleep(0.5)
        asked.write(b"\n")
        return float(await said.readline())

    yield p99
    asked.close()
    await child.wait()

"""The gateway as a person starts it: a process, a home folder, a configuration; and a client of it."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import websockets
from ruamel.yaml import YAML

ALICE, BOB = "alice-token-0123456789abcdef0123456789", "bob-token-0123456789abcdef0123456789ab"


class GatewayProcess:
    """`python -m gateway` with `configuration`; may be killed, stopped and started again on the same home."""

    def __init__(self, home: Path, configuration: dict[str, Any] | None = None) -> None:
        self.home = home
        self.configuration: dict[str, Any] = {
            "server": {"port": 0},
            "auth": {"tokens": [
                {"user": "alice", "role": "user", "token": ALICE}, {"user": "bob", "role": "user", "token": BOB}
            ]},
        }  # fmt: skip
        for name, value in (configuration or {}).items():
            if isinstance(value, dict) and isinstance(self.configuration.get(name), dict):
                value = self.configuration[name] | value
            self.configuration[name] = value
        self.process: asyncio.subprocess.Process | None = None
        self.url = ""
        self.output: list[str] = []
        self._reader: asyncio.Task[None] | None = None

    @property
    def ws(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"

    async def start(self, seconds: float = 20) -> "GatewayProcess":
        """Returns when it says that it is ready."""
        self.home.mkdir(parents=True, exist_ok=True)
        file = self.home / "test.yaml"
        with file.open("w") as opened:
            YAML(typ="safe", pure=True).dump(self.configuration, opened)
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR")}
        self.output = []
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", "run", "--config", str(file),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env=environment | {"GATEWAY_HOME": str(self.home), "PYTHONUNBUFFERED": "1"}, cwd=self.home,
        )  # fmt: skip
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reader = asyncio.get_running_loop().create_task(self._read(ready))
        async with asyncio.timeout(seconds):
            self.url = await ready
        return self

    async def _read(self, ready: "asyncio.Future[str]") -> None:
        assert self.process is not None and self.process.stdout is not None
        while line := (await self.process.stdout.readline()).decode("utf-8", "replace"):
            self.output.append(line)
            for word in line.split():
                if word.startswith("http://127.0.0.1:") and "#" in word and not ready.done():
                    ready.set_result(word.split("#")[0].rstrip("/"))
        if not ready.done():
            ready.set_exception(AssertionError("the gateway did not start:\n" + "".join(self.output)))

    async def _gone(self) -> int:
        assert self.process is not None and self._reader is not None
        code = await self.process.wait()
        await self._reader
        return code

    def _signal(self, number: int) -> None:
        """Not where its output has ended: it is going by itself, and a signal would reap it before asyncio does."""
        assert self.process is not None and self._reader is not None
        if self.process.returncode is None and not self._reader.done():
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)

    async def kill(self) -> None:
        """As a power cut does it to a process: SIGKILL."""
        self._signal(signal.SIGKILL)
        await self._gone()

    async def stop(self, seconds: float = 40) -> int:
        """SIGTERM; the exit code."""
        self._signal(signal.SIGTERM)
        async with asyncio.timeout(seconds):
            return await self._gone()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    async def command(self, *arguments: str, stdin: str | None = None, seconds: float = 30) -> tuple[int, str, str]:
        """`gateway …` on the same home: exit code, standard output, standard error."""
        environment = {k: v for k, v in os.environ.items() if k in ("PATH", "PYTHONPATH", "LANG", "TMPDIR")}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "gateway", *arguments, stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            env=environment | {"GATEWAY_HOME": str(self.home), "GATEWAY_CONFIG": str(self.home / "test.yaml")},
            cwd=self.home,
        )  # fmt: skip
        async with asyncio.timeout(seconds):
            out, error = await child.communicate(None if stdin is None else stdin.encode())
        return child.returncode or 0, out.decode(), error.decode()


@contextlib.asynccontextmanager
async def gateway_process(home: Path, configuration: dict[str, Any] | None = None) -> AsyncIterator[GatewayProcess]:
    """A running gateway; whatever is left of it is killed in the end."""
    gateway = GatewayProcess(home, configuration)
    await gateway.start()
    try:
        yield gateway
    finally:
        if gateway.process is not None and gateway.process.returncode is None:
            await gateway.kill()


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(f"{error['code']}: {error['message']}")
        self.code = error["code"]
        self.data = error.get("data") or {}


class Client:
    """A WebSocket client as a program writes it."""

    def __init__(self, url: str, token: str = ALICE) -> None:
        self.url, self.token = url, token
        self.events: list[dict[str, Any]] = []
        self.closed: asyncio.Event = asyncio.Event()
        self._changed = asyncio.Event()
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._numbers = itertools.count(1)

    async def __aenter__(self) -> "Client":
        self.socket = await websockets.connect(
            self.url, additional_headers={"Authorization": f"Bearer {self.token}"}, proxy=None, max_size=None
        )
        self._reader = asyncio.get_running_loop().create_task(self._read())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.socket.close()
        await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            async for text in self.socket:
                frame = json.loads(text)
                for item in frame if isinstance(frame, list) else [frame]:
                    self._got(item)
        except websockets.ConnectionClosed:
            pass
        finally:
            self.closed.set()
            self._changed.set()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(ConnectionError(self.why_closed))
                    future.exception()

    @property
    def why_closed(self) -> str:
        """The close code and reason that came, for whoever reads the report of a failure."""
        return f"closed: {self.socket.close_code} {self.socket.close_reason}"

    def _got(self, frame: dict[str, Any]) -> None:
        if frame.get("method") == "event":
            self.events.append(frame["params"] | {"_at": time.monotonic()})
            self._changed.set()
        elif (future := self._waiting.pop(frame.get("id"), None)) is not None and not future.done():
            if "error" in frame:
                future.set_exception(Refused(frame["error"]))
            else:
                future.set_result(frame["result"])

    async def call(self, method: str, **params: Any) -> Any:
        number = next(self._numbers)
        future = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self.socket.send(json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}))
        return await future

    async def until(self, found: Callable[[], Any], seconds: float = 15) -> Any:
        async with asyncio.timeout(seconds):
            while not (value := found()):
                if self.closed.is_set():
                    raise ConnectionError(f"while waiting: {self.why_closed}")
                self._changed.clear()
                await self._changed.wait()
        return value

    def of(self, message_id: str, *types: str) -> list[dict[str, Any]]:
        return [e for e in self.events if e.get("message_id") == message_id and (not types or e["type"] in types)]

    async def end(self, message_id: str, seconds: float = 15) -> dict[str, Any]:
        """The message's one end."""
        found = await self.until(lambda: self.of(message_id, "chat.done", "chat.error"), seconds)
        return dict(found[0])

    async def ask(self, text: str, **params: Any) -> dict[str, Any]:
        accepted = await self.call("chat.send_stream", text=text, **params)
        return await self.end(accepted["message_id"])

    def text(self, message_id: str) -> str:
        """The deltas since the last start, joined."""
        out: list[str] = []
        for event in self.of(message_id):
            if event["type"] == "chat.started":
                out = []
            elif event["type"] == "chat.delta":
                out.append(event["delta"])
        return "".join(out)

"""Tool calls through gateway and bridge, beside the same server called directly and a bare WebSocket hop.

The gateway's end (guard, directory, tunnel) runs in this process, as a turn would use it; the bridge is a process
of its own with a server over stdio. The floor is an echo over one WebSocket between two processes.
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

import psutil
from aiohttp import web
from websockets.asyncio.client import connect

from agent.ports import ToolCall
from bench.processes import ROOT, environment, figure, percentile, printing_its_port
from bridge.aggregator import Aggregator
from bridge.audit.trail import AuditTrail
from bridge.servers.groups import ProcessGroups
from bridge.servers.memory import Memory
from bridge.settings import BridgeSettings
from bus.context import new_id
from bus.deadline import Deadline
from bus.events import Actor
from bus.message_bus import MemoryBus
from gateway.auth import Authenticator
from gateway.identity.document import Document
from gateway.identity.tokens import Tokens
from gateway.tools.approvals import ApprovalDesk
from gateway.tools.guard import Guard
from gateway.tools.store import Store
from gateway.tunnel.directory import Directory
from gateway.tunnel.endpoint import Endpoint
from gateway.tunnel.tools import BridgeTools

Figures = list[dict[str, Any]]
MIB = 1024 * 1024
BENCH = Actor(user="bench", scopes=frozenset({"chat", "tools", "tunnel", "approve"}))
SERVER = {"command": sys.executable, "args": [str(ROOT / "bench" / "echo_server.py")]}
TOOLS = {"allow": ["*"], "idempotent": ["echo", "big"]}


class End:
    """The gateway's end of tunnels in this process."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.tokens = Tokens(Document(home / "tokens.json"))
        gate = Authenticator(self.tokens)
        self.trail = AuditTrail(home / "audit.jsonl")
        self.store = Store(home / "approvals.db")
        desk = ApprovalDesk(self.store)
        self.directory = Directory(home=home, gate=gate, tokens=None, events=MemoryBus(), trail=self.trail)
        self.tools = BridgeTools(self.directory, desk)
        self.guard = Guard([self.tools], desk=desk, trail=self.trail, platforms=frozenset())
        self.endpoint = Endpoint(self.directory, gate, self.trail)
        self.url = ""

    def token(self, user: str = "bench") -> str:
        return self.tokens.create(user, "user", time.time())[1]

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["End"]:
        application = web.Application()
        application.add_routes(self.endpoint.routes())
        runner = web.AppRunner(application, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=2048).start()
        self.url = f"ws://127.0.0.1:{runner.addresses[0][1]}/tunnel"
        ticking = asyncio.get_running_loop().create_task(self.directory.run())
        try:
            yield self
        finally:
            ticking.cancel()
            await asyncio.wait([ticking])
            await self.tools.close()
            await self.directory.close()
            await runner.cleanup()
            self.store.close()
            self.trail.close()

    async def call(self, name: str, **arguments: Any) -> Any:
        wanted = ToolCall(
            call_id=new_id("call"), name=name, arguments=arguments, actor=BENCH, idempotency_key=new_id("key")
        )  # fmt: skip
        return await self.guard.call(wanted, deadline=Deadline(60), report=lambda update: None)


@contextlib.asynccontextmanager
async def rig(servers: int = 1, **more: Any) -> AsyncIterator[tuple[End, psutil.Process, float]]:
    """The gateway's end, a bridge's process, and the seconds from its start to its AUTH."""
    with tempfile.TemporaryDirectory() as folder:
        home, laptop = Path(folder) / "home", Path(folder) / "laptop"
        home.mkdir()
        laptop.mkdir()
        async with End(home).serve() as end:
            entries: dict[str, Any] = {f"s{number}": SERVER | {"tools": TOOLS} for number in range(servers)}
            configuration = {
                "version": "1.0", "mcp_servers": entries | more, "policy": {"default": "allow"},
                "server": {"url": end.url, "token": end.token(), "name": "bench"},
            }  # fmt: skip
            file = laptop / "config.yaml"
            file.write_text(json.dumps(configuration))
            file.chmod(0o600)
            begun = time.monotonic()
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bridge", "run", "--config", str(file), stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.DEVNULL, env=environment(),
            )  # fmt: skip
            try:
                while not end.directory.bridges_of("bench"):
                    await asyncio.sleep(0.002)
                to_auth = time.monotonic() - begun
                async with asyncio.timeout(30):
                    while len(await end.tools.list_tools(BENCH)) < 3 * servers:
                        await asyncio.sleep(0.01)
                yield end, psutil.Process(child.pid), to_auth
            finally:
                child.terminate()
                await child.wait()


@contextlib.asynccontextmanager
async def direct() -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """The same server, called by the code that the bridge calls it with."""
    with tempfile.TemporaryDirectory() as folder:
        settings = BridgeSettings.model_validate({"mcp_servers": {"s0": SERVER}})
        groups = ProcessGroups(Path(folder))
        aggregator = Aggregator(
            settings.mcp_servers, default="allow", groups=groups, memory=Memory(Path(folder) / "catalogue.json")
        )  # fmt: skip
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(aggregator.run())
            await aggregator.settled()

            async def call() -> Any:
                params = {"name": "s0_echo", "arguments": {"text": "hello"}}
                return await aggregator.request("s0_echo", "tools/call", params, timeout=30)

            yield call
            running.cancel()
        groups.close()


async def _times(call: Callable[[], Awaitable[Any]], count: int) -> list[float]:
    for _ in range(50):
        await call()
    times = []
    for _ in range(count):
        begun = time.perf_counter()
        await call()
        times.append(time.perf_counter() - begun)
    return times


async def _rate(call: Callable[[], Awaitable[Any]], each: int, workers: int = 64) -> float:
    async def work() -> None:
        for _ in range(each):
            await call()

    await asyncio.gather(*(work() for _ in range(workers)))
    begun = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(workers)))
    return workers * each / (time.perf_counter() - begun)


class Hop:
    """A bare echo over one WebSocket, with many requests under way: the floor."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._waiting: list[asyncio.Future[bytes]] = []

    async def read(self) -> None:
        async for data in self._socket:
            self._waiting.pop(0).set_result(data)

    async def call(self) -> bytes:
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await self._socket.send("x" * 400)
        return await future


@contextlib.asynccontextmanager
async def echo_socket() -> AsyncIterator[Any]:
    """A WebSocket to a bare echo in another process."""
    async with (
        printing_its_port("-m", "bench.ws_echo") as echo,
        connect(echo.url.replace("http", "ws", 1), compression=None, proxy=None, max_size=None) as socket,
    ):
        yield socket


@contextlib.asynccontextmanager
async def bare_hop() -> AsyncIterator[Hop]:
    async with echo_socket() as socket:
        hop = Hop(socket)
        reading = asyncio.get_running_loop().create_task(hop.read())
        yield hop
        reading.cancel()
        await asyncio.wait([reading])


async def calls(quick: bool) -> Figures:
    """What gateway and bridge add to a call, and how many they carry."""
    count = 300 if quick else 3000
    async with bare_hop() as hop:
        floor = percentile(await _times(hop.call, count), 0.5)
        floor_rate = await _rate(hop.call, count // 30)
    async with direct() as call:
        alone = percentile(await _times(call, count), 0.5)
    async with rig() as (end, _bridge, _seconds):
        through = percentile(await _times(lambda: end.call("s0_echo", text="hello"), count), 0.5)
        synced = percentile(await _times(lambda: end.call("s0_write", text="hello"), count // 5), 0.5)
        rate = await _rate(lambda: end.call("s0_echo", text="hello"), count // 30)
        synced_rate = await _rate(lambda: end.call("s0_write", text="hello"), max(2, count // 150))
    added = through - alone
    return [
        figure("bare WebSocket hop, p50", floor * 1000, "ms"),
        figure("tool call, same stdio server directly, p50", alone * 1000, "ms"),
        figure("tool call, through gateway and bridge, p50", through * 1000, "ms"),
        figure("time added to a tool call, p50", added * 1000, "ms"),
        figure("time added to a tool call / bare hop", added / floor, "ratio", to_reach="<= 2"),
        figure("tool call that may not be repeated (intent synced), p50", synced * 1000, "ms"),
        figure("calls per second at 64 in flight, bare hop", floor_rate, "1/s"),
        figure("calls per second at 64 in flight", rate, "1/s"),
        figure("calls per second at 64 in flight / bare hop", rate / floor_rate, "ratio", to_reach=">= 0.5"),
        figure("calls that may not be repeated, per second at 64", synced_rate, "1/s"),
    ]


async def large(quick: bool) -> Figures:
    """A large result, and what else goes on meanwhile."""
    size = 2_000_000 if quick else 20_000_000
    async with echo_socket() as socket:
        await socket.send(str(size))
        await socket.recv()
        begun = time.perf_counter()
        await socket.send(str(size))
        await socket.recv()
        copy = time.perf_counter() - begun
    async with rig(servers=2) as (end, _bridge, _seconds):
        took = {}
        for part in (size // 4, size // 2, size):
            begun = time.perf_counter()
            await end.call("s0_big", size=part)
            took[part] = time.perf_counter() - begun
        slowest, big = 0.0, asyncio.get_running_loop().create_task(end.call("s0_big", size=size))
        while not big.done():
            begun = time.perf_counter()
            await end.call("s1_echo", text="meanwhile")
            slowest = max(slowest, time.perf_counter() - begun)
        await big
    return [
        figure(f"{size // 1_000_000} MB result", took[size], "s"),
        figure(f"{size // 1_000_000} MB as one WebSocket message (raw copy)", copy, "s"),
        figure("large result / raw copy", took[size] / copy, "ratio", to_reach="<= 3"),
        figure("large result: whole / half of it", took[size] / took[size // 2], "ratio", to_reach="about 2 (linear)"),
        figure("another call during a large result, slowest", slowest * 1000, "ms", to_reach="<= 100"),
    ]


async def bridge(quick: bool) -> Figures:
    """The bridge's own process."""
    async with rig(servers=3) as (_end, process, seconds):
        await asyncio.sleep(1.0)
        resident = process.memory_info().rss / MIB
    return [
        figure("bridge, resident, three stdio servers up", resident, "MiB", to_reach="<= 45"),
        figure("bridge, start to AUTH", seconds, "s", to_reach="<= 0.5"),
    ]


async def many(quick: bool) -> Figures:
    """Idle tunnels, and all of them at once after the gateway was gone."""
    count = 200 if quick else 2000
    with tempfile.TemporaryDirectory() as folder:
        async with End(Path(folder)).serve() as end:
            tokens, process = [end.token(f"user{number}") for number in range(50)], psutil.Process()
            before = process.memory_info().rss
            child = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "bench.tunnel_crowd", end.url, json.dumps(tokens), str(count),
                stdout=asyncio.subprocess.PIPE, env=environment(), cwd=ROOT,
            )  # fmt: skip
            assert child.stdout is not None
            took = float(await child.stdout.readline())
            await asyncio.sleep(1.0)
            each = (process.memory_info().rss - before) / count / 1024
            child.terminate()
            await child.wait()
    return [
        figure(f"idle tunnel at the gateway, of {count}", each, "KiB", to_reach="<= 16"),
        figure(f"{count} bridges at once, until all are in", took, "s", to_reach="<= 60 for 1000"),
    ]

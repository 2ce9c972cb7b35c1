"""Large results through the tunnel, what a bridge weighs, and many idle ones. Single calls are in `tool_calls.py`."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from bench.processes import Child, figure, gateway, percentile, printing_its_port, user_token
from bench.tunnel_parts import PER_USER, Caller, Direct, Light, bridge, large_call, stdio_server
from bridge.protocol import Answer, decode, encode
from bridge.protocol.bridge_effects import Requested

Figures = list[dict[str, Any]]
MIB = 1024 * 1024


class Rig:
    """Gateway, bridge with one stdio server, a bare hop, and the server by itself."""

    async def __aenter__(self) -> "Rig":
        self._stack = stack = AsyncExitStack()
        self.gateway: Child = await stack.enter_async_context(gateway(None))
        self.bridge: Child = await stack.enter_async_context(bridge(self.gateway.url, {"tool": stdio_server()}))
        self.direct = await stack.enter_async_context(Direct())
        self.echo = hop = await stack.enter_async_context(printing_its_port("-m", "bench.echo"))
        self.session = await stack.enter_async_context(aiohttp.ClientSession())
        self.hop = await self.session.ws_connect(hop.url + "/ws", compress=0, max_msg_size=1 << 28)
        self.caller = await Caller(self.session, self.gateway.url).open()
        await self.caller.tools_there("tool_echo")
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.hop.close()
        await self._stack.aclose()


async def _timed(work: Any) -> float:
    begun = time.perf_counter()
    await work
    return (time.perf_counter() - begun) * 1000


async def _there_and_back(rig: Rig, text: str) -> None:
    await rig.hop.send_str(text)
    orjson.loads((await rig.hop.receive()).data)


async def large(quick: bool) -> Figures:
    """A 20 MB result, and what others notice of it."""
    sizes = {mb: mb * 1_000_000 // 16 * 16 for mb in (5, 10, 20)}
    seconds: dict[int, list[float]] = {mb: [] for mb in sizes}
    copy: list[float] = []
    meanwhile: list[float] = []
    async with Rig() as rig:
        other = await Caller(rig.session, rig.gateway.url).open()

        async def beside() -> None:
            while True:
                meanwhile.append(await _timed(other.call("tools.call", name="tool_echo", arguments={"text": "x"})))
                await asyncio.sleep(0.005)

        for _ in range(1 if quick else 3):
            for mb, size in sizes.items():
                seconds[mb].append(await _timed(
                    rig.caller.call("tools.call", name="tool_big", arguments={"size": size})))  # fmt: skip

            async def raw() -> None:
                result = await rig.direct.call("tools/call", name="big", arguments={"size": sizes[20]})
                await _there_and_back(rig, orjson.dumps(result).decode())

            copy.append(await _timed(raw()))
        for _ in range(1 if quick else 3):
            child = await large_call(rig.gateway.url, "tool_big", sizes[20])
            task = asyncio.ensure_future(beside())
            await child.wait()
            task.cancel()
            await asyncio.wait({task})
    middle = {mb: percentile(values, 0.5) for mb, values in seconds.items()}
    return [
        figure("a 20 MB result", middle[20], "ms"),
        figure("its raw copy: the server directly, and one bare hop", percentile(copy, 0.5), "ms"),
        figure("20 MB result / raw copy", middle[20] / percentile(copy, 0.5), "ratio", to_reach="<= 3"),
        figure("20 MB / twice 10 MB", middle[20] / middle[10] / 2, "ratio", to_reach="about 1"),
        figure("another call meanwhile, slowest", max(meanwhile), "ms", to_reach="<= 100"),
        figure("PING while 20 MB go up, slowest", await _ping_meanwhile(quick), "ms", to_reach="<= 100"),
    ]


async def _ping_meanwhile(quick: bool) -> float:
    """A bridge without a process sends 20 MB and PINGs between the chunks; milliseconds until the slowest answer."""
    slowest, sent = 0.0, 0.0
    async with gateway(None) as house, aiohttp.ClientSession() as session:
        from bench.processes import TOKEN

        light = Light(session, house.url, TOKEN, 0)
        link = await light.open()
        link.tools({"revision": "1", "servers": [{"name": "s", "state": "ready"}], "tools": [
            {"name": "s_big", "server": "s", "description": "", "inputSchema": {"type": "object"}, "policy": "allow"}
        ]})  # fmt: skip
        await light.flush()
        caller = await Caller(session, house.url).open()
        await caller.tools_there("s_big")
        child = await large_call(house.url, "s_big", 0)
        call = asyncio.ensure_future(child.wait())
        assert light.socket is not None
        while not call.done():
            if not sent:
                sent = time.perf_counter()
                await light.socket.send_str(encode("PING", "p", {"t": 1}).decode())
            for _ in range(4):
                if (frame := link.next_frame()) is not None:
                    await light.socket.send_frame(frame, aiohttp.WSMsgType.TEXT)
            receive = asyncio.ensure_future(light.socket.receive())
            await asyncio.wait({receive, call}, return_when=asyncio.FIRST_COMPLETED)
            if not receive.done():
                receive.cancel()
                break
            frame_in = decode(receive.result().data)
            if frame_in.type == "PING" and frame_in.payload.get("pong"):
                slowest, sent = max(slowest, time.perf_counter() - sent), 0.0
            for effect in link.receive(frame_in, time.monotonic()):
                if isinstance(effect, Requested):
                    body = {"jsonrpc": "2.0", "id": effect.id,
                            "result": {"content": [{"type": "text", "text": "0123456789" * 2_000_000}]}}  # fmt: skip
                    light.outbox.answers[effect.id] = Answer("MCP_RESPONSE", orjson.dumps(body))
                    link.answer(effect.id)
        await call
    return slowest * 1000


async def weight(quick: bool) -> Figures:
    """What a bridge weighs, and how soon it speaks."""
    first: list[float] = []

    async def tunnel(request: web.Request) -> web.WebSocketResponse:
        ws = web.WebSocketResponse()
        await ws.prepare(request)
        await ws.receive()
        first.append(time.monotonic())
        return ws

    app = web.Application()
    app.router.add_get("/tunnel", tunnel)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    started = []
    for _ in range(3 if quick else 5):
        seen = len(first)
        async with bridge(f"http://127.0.0.1:{port}", {"tool": stdio_server()}) as child:
            async with asyncio.timeout(20):
                while len(first) == seen:
                    await asyncio.sleep(0.005)
            started.append(first[seen] - child.ready_seconds)
    await runner.cleanup()
    rss = []
    async with printing_its_port("-m", "bench.tool_server", "--http") as served:
        three = {f"s{number}": stdio_server() for number in range(3)}
        for more in ({}, {"web": {"url": served.url + "/mcp", "tools": {"allow": ["*"]}}}):
            async with (
                gateway(None) as house, bridge(house.url, three | more) as child, aiohttp.ClientSession() as session,
            ):  # fmt: skip
                caller = await Caller(session, house.url).open()
                for name in [*three, *more]:
                    await caller.tools_there(f"{name}_echo")
                    await caller.call("tools.call", name=f"{name}_echo", arguments={"text": "x"})
                await asyncio.sleep(0.5)
                rss.append(child.rss() / MIB)
    return [
        figure("bridge, resident, three stdio servers", rss[0], "MiB", to_reach="<= 45"),
        figure("bridge, resident, an HTTP server beside them", rss[1], "MiB", to_reach="<= 80"),
        figure("bridge, start to AUTH", percentile(started, 0.5), "s", to_reach="<= 0.5"),
    ]


async def idle(quick: bool) -> Figures:
    """What an idle tunnel costs the gateway."""
    count = 200 if quick else 2000
    users = -(-count // PER_USER)
    async with (
        gateway(None, users=users) as house,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        warm = [Light(session, house.url, user_token(0), 10_000 + n) for n in range(8)]
        for light in warm:
            await light.open()
        await asyncio.sleep(0.5)
        before = house.rss()
        lights = [Light(session, house.url, user_token(1 + n % (users - 1)), n) for n in range(count)][:count]
        lights = lights[: (users - 1) * PER_USER]
        for at in range(0, len(lights), 50):
            await asyncio.gather(*(light.open() for light in lights[at : at + 50]))
        await asyncio.sleep(1.0)
        grown = (house.rss() - before) / len(lights) / 1024
    return [figure(f"idle tunnel at the gateway, {len(lights)} of them", grown, "KiB", to_reach="<= 16")]

"""Start and memory."""

import asyncio
import time
from typing import Any

import aiohttp

from bench.clients import GatewayClient
from bench.processes import figure, gateway, percentile, printing_its_port
from bench.streaming import Rig

Figures = list[dict[str, Any]]
MIB = 1024 * 1024


async def start(quick: bool) -> Figures:
    """Start to ready, and resident memory, idle."""
    ready, idle = [], []
    for _ in range(3 if quick else 5):
        async with gateway(None) as child:
            await asyncio.sleep(1.0)
            ready.append(child.ready_seconds)
            idle.append(child.rss() / MIB)
    async with printing_its_port("-m", "bench.mock_openai") as model, gateway(model.url) as child:
        async with aiohttp.ClientSession() as session:
            await (await GatewayClient(session, child.url).open()).ask("one")
        await asyncio.sleep(1.0)
        loaded = child.rss() / MIB
    return [
        figure("start to ready", percentile(ready, 0.5), "s", to_reach="<= 0.8"),
        figure("resident, idle, demo model", percentile(idle, 0.5), "MiB", to_reach="<= 65"),
        figure("resident after a turn, openai loaded", loaded, "MiB", to_reach="<= 110"),
    ]


async def _per_connection(url: str, rss: Any, count: int, headers: dict[str, str], path: str) -> float:
    before = rss()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        sockets = []
        for begun in range(0, count, 100):
            sockets += await asyncio.gather(
                *(session.ws_connect(url + path, compress=0, headers=headers) for _ in range(min(100, count - begun)))
            )
        await asyncio.sleep(1.0)
        grown = (rss() - before) / count / 1024
        for socket in sockets:
            await socket.close()
    return float(grown)


async def connections(quick: bool) -> Figures:
    """Memory of an idle connection against a bare aiohttp server's (the relay is one)."""
    from bench.processes import TOKEN

    count = 500 if quick else 5000
    async with Rig() as rig:
        bare = await _per_connection(rig.relay.url, rig.relay.rss, count, {}, "/ws")
        headers = {"Authorization": f"Bearer {TOKEN}"}
        ours = await _per_connection(rig.gateway.url, rig.gateway.rss, count, headers, "/ws")
    return [
        figure(f"memory per idle connection at {count}, gateway", ours, "KiB"),
        figure(f"memory per idle connection at {count}, bare aiohttp", bare, "KiB"),
        figure("memory per idle connection, gateway / bare", ours / bare, "ratio", to_reach="<= 1.5"),
    ]


async def sessions(quick: bool) -> Figures:
    """What a finished session leaves in memory."""
    count = 200 if quick else 1000
    async with Rig() as rig:
        clients = await rig.clients("gateway", 16)

        async def many(tag: str, number: int) -> None:
            for index in range(number):
                client = clients[index % len(clients)]
                await client.ask("one", key=f"{tag} {index} {time.monotonic_ns()}")

        await many("warm", 300)
        await asyncio.sleep(1.0)
        before = rig.gateway.rss()
        await many("first", count)
        await asyncio.sleep(1.0)
        between = rig.gateway.rss()
        await many("second", count)
        await asyncio.sleep(1.0)
        after = rig.gateway.rss()
    return [
        figure("memory per session after a turn", max(0.0, (between - before) / count / 1024), "KiB", to_reach="<= 8"),
        figure(f"growth over {count} further finished sessions", (after - between) / between * 100, "%",
               to_reach="<= 5"),
    ]  # fmt: skip

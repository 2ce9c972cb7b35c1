"""A tool call's way through gateway and bridge: what it adds to the server's own time, and how many go through."""

import asyncio
import time
from contextlib import AsyncExitStack

from bench.callers import Callers, milliseconds
from bench.durability import disk_syncs
from bench.processes import figure, percentile
from bench.tunnel import Figures, Rig
from bench.tunnel_parts import Inside


async def calls(quick: bool) -> Figures:
    """One call at a time, then 64 in flight: begun in the gateway, by a client, directly, and over a bare hop."""
    rounds, count = (10, 1000) if quick else (60, 6000)
    took: dict[str, list[float]] = {"direct": [], "hop": [], "inside": [], "whole": []}
    rate: dict[str, list[float]] = {name: [] for name in ("hop", "hop apart", "inside", "whole", "whole apart", "note")}
    cost: dict[str, list[float]] = {"gateway": [], "bridge": []}
    async with Rig() as rig, Inside() as inside, Callers(rig.gateway.url) as through, Callers(rig.echo.url) as bare:
        await inside.ask("many tool_echo 500")
        for number in range(rounds + 2):
            once = {name: [] for name in took}
            for _ in range(10):
                once["direct"].append(
                    await milliseconds(lambda: rig.direct.call("tools/call", name="echo", arguments={"text": "x"}))
                )
                once["hop"].append(await milliseconds(lambda: bare.call("tool_echo")))
                once["whole"].append(await milliseconds(lambda: through.call("tool_echo")))
            once["inside"].append(await inside.ask("one tool_echo 10"))
            for name, values in once.items() if number >= 2 else ():
                took[name] += values
        for _ in range(3):
            rate["hop"].append(await bare.rate("tool_echo", count))
            rate["hop apart"].append(await _apart(rig.echo.url, count))
            before = inside.house.cpu(), inside.bridge.cpu()
            rate["inside"].append(await inside.ask(f"many tool_echo {count}"))
            for name, child, was in zip(cost, (inside.house, inside.bridge), before, strict=True):
                cost[name].append((child.cpu() - was) / count * 1e6)
            rate["whole"].append(await through.rate("tool_echo", count))
            rate["whole apart"].append(await _apart(rig.gateway.url, count))
            rate["note"].append(await through.rate("tool_note", count // 4))
    p50 = {name: percentile(values, 0.5) for name, values in took.items()}
    speed = {name: percentile(values, 0.5) for name, values in rate.items()}
    return [
        figure("tool call, p50, begun in the gateway as by its agent", p50["inside"], "ms"),
        figure("tool call, p50, by a client of the gateway", p50["whole"], "ms"),
        figure("tool call, p50, the server directly", p50["direct"], "ms"),
        figure("bare WebSocket hop, p50", p50["hop"], "ms"),
        figure("time added by gateway and bridge / bare hop", (p50["inside"] - p50["direct"]) / p50["hop"], "ratio",
               to_reach="<= 2"),
        figure("the same with a client's own hop to the gateway", (p50["whole"] - p50["direct"]) / p50["hop"], "ratio"),
        figure("tool calls per second, 64 in flight, begun in the gateway", speed["inside"], "1/s"),
        figure("tool calls per second, 64 in flight, over one client's connection", speed["whole"], "1/s"),
        figure("tool calls per second, 64 clients with a connection each", speed["whole apart"], "1/s"),
        figure("bare hops per second, 64 callers with a connection each", speed["hop apart"], "1/s"),
        figure("bare hops per second, 64 in flight over one connection", speed["hop"], "1/s"),
        figure("tool calls begun in the gateway / bare hops, a connection each", speed["inside"] / speed["hop apart"],
               "ratio", to_reach=">= 0.5"),
        figure("tool calls begun in the gateway / bare hops over one connection", speed["inside"] / speed["hop"],
               "ratio"),
        figure("tool calls by clients / bare hops, a connection each", speed["whole apart"] / speed["hop apart"],
               "ratio"),
        figure("CPU per tool call, gateway", percentile(cost["gateway"], 0.5), "us"),
        figure("CPU per tool call, bridge", percentile(cost["bridge"], 0.5), "us"),
        figure("non-idempotent calls per second, 64 in flight", speed["note"], "1/s"),
        figure("beside them: the disk's own synced appends", disk_syncs(1.0 if quick else 3.0), "1/s"),
    ]  # fmt: skip


async def _apart(url: str, count: int) -> float:
    """Calls per second of 64 callers, each over a connection of its own."""
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Callers(url)) for _ in range(64)]
        begun = time.perf_counter()
        await asyncio.gather(*(caller.rate("tool_echo", count // 64, 1) for caller in callers))
        return count // 64 * 64 / (time.perf_counter() - begun)

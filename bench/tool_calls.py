"""A tool call's way through gateway and bridge: what it adds to the server's own time, and how many go through."""

import asyncio
import time
from contextlib import AsyncExitStack

from bench.callers import Callers, milliseconds
from bench.durability import disk_syncs
from bench.processes import figure, percentile
from bench.tunnel import Figures, Rig


async def calls(quick: bool) -> Figures:
    """One call at a time, then 64 in flight: through both, directly, and over a bare hop, in turn."""
    rounds, count = (100, 1000) if quick else (600, 6000)
    took: dict[str, list[float]] = {"direct": [], "hop": [], "whole": []}
    rate: dict[str, list[float]] = {"hop": [], "whole": [], "note": []}
    cost: dict[str, list[float]] = {"gateway": [], "bridge": []}
    async with Rig() as rig, Callers(rig.gateway.url) as through, Callers(rig.echo.url) as bare:
        for number in range(rounds + 20):
            once = {
                "direct": await milliseconds(
                    lambda: rig.direct.call("tools/call", name="echo", arguments={"text": "x"})
                ),
                "hop": await milliseconds(lambda: bare.call("tool_echo")),
                "whole": await milliseconds(lambda: through.call("tool_echo")),
            }
            for name, value in once.items() if number >= 20 else ():
                took[name].append(value)
        for _ in range(3):
            rate["hop"].append(await bare.rate("tool_echo", count))
            before = rig.gateway.cpu(), rig.bridge.cpu()
            rate["whole"].append(await through.rate("tool_echo", count))
            for name, child, was in zip(cost, (rig.gateway, rig.bridge), before, strict=True):
                cost[name].append((child.cpu() - was) / count * 1e6)
            rate["note"].append(await through.rate("tool_note", count // 4))
        for name, url in (("hop apart", rig.echo.url), ("whole apart", rig.gateway.url)):
            rate[name] = [await _apart(url, count)]
    p50 = {name: percentile(values, 0.5) for name, values in took.items()}
    speed = {name: percentile(values, 0.5) for name, values in rate.items()}
    added = p50["whole"] - p50["direct"]
    return [
        figure("tool call, p50, through gateway and bridge", p50["whole"], "ms"),
        figure("tool call, p50, the server directly", p50["direct"], "ms"),
        figure("bare WebSocket hop, p50", p50["hop"], "ms"),
        figure("time added to a tool call / bare hop", added / p50["hop"], "ratio", to_reach="<= 2"),
        figure("the same without the caller's own hop / bare hop", (added - p50["hop"]) / p50["hop"], "ratio"),
        figure("tool calls per second, 64 in flight", speed["whole"], "1/s"),
        figure("bare hops per second, 64 in flight", speed["hop"], "1/s"),
        figure("tool calls / bare hops per second", speed["whole"] / speed["hop"], "ratio", to_reach=">= 0.5"),
        figure("tool calls per second, 64 callers with a connection each", speed["whole apart"], "1/s"),
        figure("bare hops per second, 64 callers with a connection each", speed["hop apart"], "1/s"),
        figure(
            "tool calls / bare hops per second, a connection each", speed["whole apart"] / speed["hop apart"], "ratio"
        ),
        figure("CPU per tool call, gateway", percentile(cost["gateway"], 0.5), "us"),
        figure("CPU per tool call, bridge", percentile(cost["bridge"], 0.5), "us"),
        figure("non-idempotent calls per second, 64 in flight", speed["note"], "1/s"),
        figure("beside them: the disk's own synced appends", disk_syncs(1.0 if quick else 3.0), "1/s"),
    ]


async def _apart(url: str, count: int) -> float:
    """Calls per second of 64 callers, each over a connection of its own."""
    async with AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(Callers(url)) for _ in range(64)]
        begun = time.perf_counter()
        await asyncio.gather(*(caller.rate("tool_echo", count // 64, 1) for caller in callers))
        return count // 64 * 64 / (time.perf_counter() - begun)

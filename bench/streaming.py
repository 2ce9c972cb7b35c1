"""Deltas: time to the first, cost of each, how many, and whether they come evenly."""

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import aiohttp

from bench.clients import GatewayClient, RelayClient, Stream
from bench.processes import Child, figure, gateway, percentile, printing_its_port

Figures = list[dict[str, Any]]


class Rig:
    """Model, relay and gateway, each a process of its own."""

    async def __aenter__(self) -> "Rig":
        self._stack = AsyncExitStack()
        model = await self._stack.enter_async_context(printing_its_port("-m", "bench.mock_openai"))
        self.model = model
        self.relay = await self._stack.enter_async_context(printing_its_port("-m", "bench.relay", model.url))
        self.gateway = await self._stack.enter_async_context(gateway(model.url))
        self.session = await self._stack.enter_async_context(
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def clients(self, kind: str, count: int) -> list[Any]:
        """`count` open clients of the relay or the gateway."""
        cls, child = (RelayClient, self.relay) if kind == "relay" else (GatewayClient, self.gateway)
        return [await cls(self.session, child.url).open() for _ in range(count)]

    def child(self, kind: str) -> Child:
        return self.relay if kind == "relay" else self.gateway


async def first_delta(quick: bool) -> Figures:
    """One chat at a time, relay and gateway in turn; conversations of ten questions."""
    rounds, run = 60 if quick else 400, time.monotonic_ns()
    times: dict[str, list[float]] = {"relay": [], "gateway": [], "model": []}
    async with Rig() as rig:
        relay, ours = (await rig.clients("relay", 1))[0], (await rig.clients("gateway", 1))[0]
        body = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": "mock:1:0;"}]}
        await ours.ask("one")
        await asyncio.sleep(1.0)  # what is loaded beside the first turns has a figure of its own

        async def direct(number: int) -> float:
            begun = time.monotonic()
            async with rig.session.post(rig.model.url + "/v1/chat/completions", json=body) as response:
                await response.content.readany()
                took = time.monotonic() - begun
                await response.read()
            return took

        async def relayed(number: int) -> float:
            return float((await relay.ask("one")).first)

        async def asked(number: int) -> float:
            return float((await ours.ask("one", key=f"first {number // 10} {run}")).first)

        ways = [("model", direct), ("relay", relayed), ("gateway", asked)]
        for number in range(rounds + 20):
            ways.append(ways.pop(0))  # whoever comes after another finds the processor's caches as that one left them
            for name, way in ways:
                value = await way(number)
                if number >= 20:
                    times[name].append(value * 1000)
        async with rig.session.get(rig.model.url + "/") as response:
            prompt = int(await response.text())
    from bench.durability import sync_times

    out, syncs = [], sync_times(rounds)
    for share, limit in ((0.5, 2), (0.99, 3)):
        floor = percentile(times["model"], share)
        added = {name: max(percentile(times[name], share) - floor, 0.001) for name in ("relay", "gateway")}
        label = f"p{share * 100:.0f}"
        out.append(figure(f"first delta, {label}, gateway", percentile(times["gateway"], share), "ms"))
        out.append(figure(f"first delta, {label}, relay", percentile(times["relay"], share), "ms"))
        whole = percentile(times["gateway"], share) / percentile(times["relay"], share)
        out.append(figure(f"first delta, {label}, gateway / relay", whole, "ratio", to_reach=f"<= {limit}"))
        out.append(figure(f"added to the model's own, {label}, gateway / relay", added["gateway"] / added["relay"],
                          "ratio"))  # fmt: skip
        out.append(figure(f"the disk's own synced append, {label}", percentile(syncs, share), "ms"))
    out.append(figure("request body of a trivial turn", prompt, "bytes", to_reach="<= 4096"))
    return out


async def _at_once(clients: list[Any], model: str) -> list[Stream]:
    return list(await asyncio.gather(*(client.ask(model) for client in clients)))


async def throughput(quick: bool) -> Figures:
    """64 chats of 200 chunks, as fast as they go; relay and gateway in turn."""
    chats, rounds = 64, 2 if quick else 5
    cost: dict[str, list[float]] = {"relay": [], "gateway": []}
    rate: dict[str, list[float]] = {"relay": [], "gateway": []}
    async with Rig() as rig:
        both = {kind: await rig.clients(kind, chats) for kind in ("relay", "gateway")}
        for number in range(rounds + 1):
            for kind, clients in both.items():
                before, begun = rig.child(kind).cpu(), time.monotonic()
                streams = await _at_once(clients, "many")
                spent, took = rig.child(kind).cpu() - before, time.monotonic() - begun
                deltas = chats * 200
                assert all(stream.deltas == 400 for stream in streams), "deltas were lost"
                if number:
                    cost[kind].append(spent / deltas * 1e6)
                    rate[kind].append(deltas / took)
    middle = {kind: percentile(values, 0.5) for kind, values in cost.items()}
    speed = {kind: percentile(values, 0.5) for kind, values in rate.items()}
    return [
        figure("CPU per delta, gateway", middle["gateway"], "us"),
        figure("CPU per delta, relay", middle["relay"], "us"),
        figure("CPU per delta, gateway / relay", middle["gateway"] / middle["relay"], "ratio", to_reach="<= 1.5"),
        figure("deltas per second, gateway", speed["gateway"], "1/s"),
        figure("deltas per second, relay", speed["relay"], "1/s"),
        figure("deltas per second, gateway / relay", speed["gateway"] / speed["relay"], "ratio", to_reach=">= 0.6"),
    ]


async def paced(quick: bool) -> Figures:
    """How many chats at 20 ms a chunk stay smooth; the relay's own figures beside them.

    Begun at one moment, the first deltas stand in one queue; begun within two seconds, as people come, they do not.
    """
    out = []
    async with Rig() as rig:
        for count in (64,) if quick else (256, 512, 1024):
            for kind in ("gateway", "relay"):
                clients = await rig.clients(kind, count)
                for _ in range(3):  # the model's package is loaded and a connection there: it is not the start we time
                    await clients[0].ask("one")
                out += _smoothness(f"{count} chats at 20 ms, {kind}", await _at_once(clients, "slow"), kind)
                if count > 256:
                    name = f"{count} chats at 20 ms begun within 2 s, {kind}"
                    out += _smoothness(name, await _one_after_another(clients, "long", 2.0), kind)
                for client in clients:
                    await client.close()
    return out


async def _one_after_another(clients: list[Any], model: str, seconds: float) -> list[Stream]:
    """One ask of each client, evenly over so many seconds."""

    async def later(number: int, client: Any) -> Stream:
        await asyncio.sleep(seconds * number / len(clients))
        stream: Stream = await client.ask(model)
        return stream

    return list(await asyncio.gather(*(later(number, client) for number, client in enumerate(clients))))


def _smoothness(name: str, streams: list[Stream], kind: str) -> Figures:
    figures = (
        ("gap p99", 100, [gap for s in streams for gap in s.gaps]),
        ("first delta p99", 250, [s.first for s in streams]),
        ("one way p99", 100, [t for s in streams for t in s.one_way]),
    )
    return [
        figure(f"{name}, {what}", percentile(times, 0.99) * 1000, "ms",
               **({"to_reach": f"<= {limit}"} if kind == "gateway" else {}))
        for what, limit, times in figures
    ]  # fmt: skip


async def long_session(quick: bool) -> Figures:
    """The first delta late in a session against early in it."""
    turns, early, late = (60 if quick else 520), [], []
    async with Rig() as rig:
        client = (await rig.clients("gateway", 1))[0]
        fresh = (await rig.clients("gateway", 1))[0]
        for number in range(turns):
            stream = await client.ask("one")
            if number >= turns - 40:
                late.append(stream.first * 1000)
                key = f"early {number} {time.monotonic()}"
                for _ in range(2):
                    await fresh.ask("one", key=key)
                early.append((await fresh.ask("one", key=key)).first * 1000)
    value = percentile(late, 0.5) / percentile(early, 0.5)
    return [figure(f"first delta at turn {turns - 20} / at turn 3", value, "ratio", to_reach="<= 1.1")]

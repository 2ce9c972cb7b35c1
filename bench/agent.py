"""What the supervisor costs: a round, a tool call, a hundred plans side by side, and choosing the mode."""

import asyncio
import time
from typing import Any

import aiohttp
import orjson

from agent.modes.choose import choose
from bench.clients import GatewayClient
from bench.processes import figure, gateway, percentile, printing_its_port

Figures = list[dict[str, Any]]
ROUNDS = 6
CALLS = 4


async def _completion(session: aiohttp.ClientSession, url: str, messages: list[dict[str, Any]]) -> dict[str, Any]:
    """One streamed completion, read to its end: the assistant's message."""
    body = {"model": "bench", "stream": True, "messages": messages}
    text, calls = "", []
    async with session.post(url + "/v1/chat/completions", json=body) as response:
        for line in (await response.read()).split(b"\n\n"):
            if line in (b"", b"data: [DONE]"):
                continue
            chunk = orjson.loads(line[6:])
            if chunk["choices"]:
                delta = chunk["choices"][0]["delta"]
                text += delta.get("content") or ""
                calls += delta.get("tool_calls") or ()
    return {"role": "assistant", "content": text or None} | ({"tool_calls": calls} if calls else {})


async def _bare(session: aiohttp.ClientSession, url: str, said: str) -> None:
    """The tool loop with nothing around it; a tool costs nothing."""
    messages: list[dict[str, Any]] = [{"role": "user", "content": said}]
    while True:
        reply = await _completion(session, url, messages)
        if "tool_calls" not in reply:
            return
        messages.append(reply)
        messages += [{"role": "tool", "tool_call_id": call["id"], "content": "ok"} for call in reply["tool_calls"]]


async def rounds(quick: bool) -> Figures:
    """Turns of one round, of seven, and of seven with four calls each; gateway and bare client in turn."""
    texts = {"one": "tool:0:1;mock:1:0;", "rounds": f"tool:{ROUNDS}:1;mock:1:0;",
             "calls": f"tool:{ROUNDS}:{CALLS};mock:1:0;"}  # fmt: skip
    ours: dict[str, list[float]] = {name: [] for name in texts}
    bare: dict[str, list[float]] = {name: [] for name in texts}
    async with (
        printing_its_port("-m", "bench.mock_openai") as model,
        gateway(model.url) as house,
        aiohttp.ClientSession() as session,
    ):
        client = await GatewayClient(session, house.url).open()
        for number in range(15 if quick else 60):
            for name, text in texts.items():
                stream = await client.ask(text, key=f"{name} {number} {time.monotonic_ns()}")
                assert stream.tools == {"one": 0, "rounds": ROUNDS, "calls": ROUNDS * CALLS}[name], "no tool was run"
                ours[name].append(stream.seconds)
                begun = time.monotonic()
                await _bare(session, model.url, text)
                bare[name].append(time.monotonic() - begun)
    p50 = {name: percentile(values[3:], 0.5) * 1000 for name, values in ours.items()}
    floor = {name: percentile(values[3:], 0.5) * 1000 for name, values in bare.items()}
    extra = {name: p50[name] - floor[name] for name in texts}
    return [
        figure("turn of one round, gateway", p50["one"], "ms"),
        figure("turn of one round, bare client", floor["one"], "ms"),
        figure("overhead per round with one tool call", (extra["rounds"] - extra["one"]) / ROUNDS, "ms"),
        figure("overhead per further tool call in a round", (extra["calls"] - extra["rounds"]) / ROUNDS / (CALLS - 1),
               "ms"),
        figure("a round of the bare client", (floor["rounds"] - floor["one"]) / ROUNDS, "ms"),
    ]  # fmt: skip


async def plans(quick: bool) -> Figures:
    """Sessions in `multi` side by side: each plans three parts, works on them, and sums up."""
    count = 20 if quick else 100
    async with (
        printing_its_port("-m", "bench.mock_openai") as model,
        gateway(model.url, mode="multi") as house,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        clients = [await GatewayClient(session, house.url).open() for _ in range(count)]
        await clients[0].ask("plan:3;mock:20:5;")
        spent, begun = house.cpu(), time.monotonic()
        streams = await asyncio.gather(*(client.ask("plan:3;mock:20:5;") for client in clients))
        took, spent = time.monotonic() - begun, house.cpu() - spent
        assert all(stream.deltas for stream in streams), "an answer was empty"

        async def bare() -> None:
            said = [{"role": "user", "content": "mock:20:5;"}]
            await _completion(session, model.url, [{"role": "user", "content": "mock:1:0;"}])
            await asyncio.gather(*(_completion(session, model.url, said) for _ in range(3)))
            await _completion(session, model.url, said)

        begun = time.monotonic()
        await asyncio.gather(*(bare() for _ in range(count)))
        floor = time.monotonic() - begun
    return [
        figure(f"{count} sessions in multi, all answered after", took, "s"),
        figure("the same requests by a bare client", floor, "s"),
        figure("multi / bare client", took / floor, "ratio"),
        figure("CPU per session in multi", spent / count * 1000, "ms"),
    ]


async def choosing(quick: bool) -> Figures:
    """Microseconds of `choose`."""
    texts = {"a greeting": "hello!", "a question": "What is the difference between a list and a tuple in Python?",
             "4,000 characters": "tell me more about it, please. " * 130}  # fmt: skip
    out = []
    for name, text in texts.items():
        times = []
        for _ in range(50 if quick else 300):
            begun = time.perf_counter()
            for _ in range(20):
                choose(text, tools=10, turns_before=3)
            times.append((time.perf_counter() - begun) / 20 * 1e6)
        out.append(figure(f"cost of choose, {name}", percentile(times, 0.5), "us"))
    return out

"""A thousand bridges come back at once after a restart of the gateway, while somebody works there.

`python -m bench.storm URL COUNT` is the crowd: it connects COUNT bridges, says so, and for a line on its standard input
has them all come back, as the bridge does where its configuration says nothing; then it says how many and in how many
seconds. They would be a thousand computers elsewhere: the crowd has a process of its own that takes only what nobody
else wants of the processor, or the canary would show how well the system shares out two cores.
"""

import asyncio
import os
import random
import socket as sockets
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import orjson

from bench.processes import ROOT, environment, figure, gateway, percentile, user_token
from bench.tunnel_parts import PER_USER, Light, watching_canary
from bridge.settings import LinkSettings
from bridge.tunnel import backoff

RECONNECT_SECONDS = LinkSettings().reconnect_interval


async def reconnecting(quick: bool) -> list[dict[str, Any]]:
    """All bridges come back at once after a gateway restart, while a canary works; a p99 of seconds wants three."""
    count = 100 if quick else 1000
    storms = [await _storm(count) for _ in range(1 if quick else 3)]
    usual = percentile([storm.usual for storm in storms], 0.5)
    return [
        figure(f"{count} bridges reconnecting at once, all back after", max(s.took for s in storms), "s",
               to_reach="<= 60"),
        figure("connected twice or not at all", sum(storm.wrong for storm in storms), "", to_reach="0"),
        figure("a canary's p99 meanwhile / usual", percentile([storm.meanwhile for storm in storms], 0.5) / usual,
               "ratio", to_reach="<= 2"),
        figure("a canary's p99, usual", usual, "ms"),
    ]  # fmt: skip


class _Storm(NamedTuple):
    """Seconds until all were back, how many were there twice or not at all, and a canary's p99 (ms)."""

    took: float
    wrong: int
    meanwhile: float
    usual: float


async def _storm(count: int) -> _Storm:
    users = -(-count // PER_USER) + 1
    with sockets.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            house = gateway(None, home=Path(folder), port=port, users=users)
            child = await house.__aenter__()
            come_back = await stack.enter_async_context(_crowd(child.url, count))
            await house.__aexit__(None, None, None)
            child = await stack.enter_async_context(gateway(None, home=Path(folder), port=port, users=users))
            canary = await stack.enter_async_context(watching_canary(child.url))
            await canary()  # the first calls load what they need
            back, took = await come_back()
            meanwhile = await canary()
            await asyncio.sleep(took)
            usual = await canary()
            known = sum([await _known(child.url, user) for user in range(users - 1)])
    return _Storm(took, abs(known - count) + abs(back - count), meanwhile, usual)


async def _known(url: str, user: int) -> int:
    """How many bridges of `user` the gateway says are connected."""
    headers = {"Authorization": f"Bearer {user_token(user)}"}
    async with aiohttp.ClientSession() as session, session.ws_connect(url + "/ws", headers=headers) as socket:
        await socket.send_str('{"jsonrpc":"2.0","id":1,"method":"bridge.list"}')
        listed = orjson.loads((await socket.receive()).data)
    return sum(row["connected"] for row in listed["result"]["bridges"])


@asynccontextmanager
async def _crowd(url: str, count: int) -> AsyncIterator[Callable[[], Awaitable[tuple[int, float]]]]:
    """`count` bridges that are connected; called, they come back: how many, and in how many seconds."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.storm", url, str(count), env=environment(), cwd=ROOT,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said, asked = child.stdout, child.stdin
    assert said is not None and asked is not None
    await said.readline()

    async def come_back() -> tuple[int, float]:
        asked.write(b"\n")
        back, seconds = (await said.readline()).split()
        return int(back), float(seconds)

    yield come_back
    asked.close()
    await child.wait()


# ---------------------------------------------------------------- the crowd's own process


async def _back(light: Light, jitter: random.Random) -> int:
    """Reconnect as the bridge does. How many times it got in."""
    attempt = 0
    while True:
        await asyncio.sleep(backoff(attempt, RECONNECT_SECONDS, jitter.random))
        try:
            await light.open()
            return 1
        except (aiohttp.ClientError, OSError):
            attempt += 1


async def main(url: str, count: int) -> None:
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    jitter = random.Random(7)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        lights = [Light(session, url, user_token(number // PER_USER), number) for number in range(count)]
        for at in range(0, count, 50):
            await asyncio.gather(*(light.open() for light in lights[at : at + 50]))
        if hasattr(os, "SCHED_IDLE"):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        print("connected", flush=True)
        await questions.readline()
        begun = time.monotonic()
        back = sum(await asyncio.gather(*(_back(light, jitter) for light in lights)))
        print(back, time.monotonic() - begun, flush=True)
        await questions.read()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))

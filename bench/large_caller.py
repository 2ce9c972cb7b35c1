"""Calls a tool with a large result, in a process of its own, so that only the gateway and the bridge are in its way.

`python -m bench.large_caller GATEWAY_URL TOOL SIZE` says when it is connected, and its milliseconds at the end.
"""

import asyncio
import sys
import time

import aiohttp

from bench.tunnel_parts import Caller


async def main(url: str, tool: str, size: int) -> None:
    async with aiohttp.ClientSession() as session:
        caller = await Caller(session, url).open()
        print("connected", flush=True)
        begun = time.perf_counter()
        await caller.call("tools.call", name=tool, arguments={"size": size})
        print((time.perf_counter() - begun) * 1000, flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))

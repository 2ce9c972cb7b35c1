"""Calls a tool of the cloud every five milliseconds, in a process of its own, so that only the gateway is in its way.

`python -m bench.canary GATEWAY_URL` says when it is connected; for each line on its standard input it says the p99 of
its calls since the last one, in milliseconds.
"""

import asyncio
import sys

import aiohttp

from bench.callers import milliseconds
from bench.processes import percentile
from bench.tunnel_parts import Caller


async def main(url: str) -> None:
    questions = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(questions), sys.stdin)
    async with aiohttp.ClientSession() as session:
        caller = await Caller(session, url).open()
        print("connected", flush=True)
        question = asyncio.ensure_future(questions.readline())
        while True:
            times: list[float] = []
            while not question.done():
                times.append(await milliseconds(lambda: caller.call("tools.call", name="clock", arguments={})))
                await asyncio.sleep(0.005)
            if not question.result():
                return
            print(percentile(times, 0.99), flush=True)
            question = asyncio.ensure_future(questions.readline())


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))

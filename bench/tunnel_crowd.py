"""Thousands of bridges in one process: `bridge.protocol` sessions that authenticate and stay. Prints the seconds."""

import asyncio
import json
import sys
import time

from websockets.asyncio.client import ClientConnection, connect

from bench.processes import raise_file_limit
from bridge.protocol import BridgeIdentity, BridgeLink, Outbox, decode


async def one(url: str, token: str, number: int) -> ClientConnection:
    socket = await connect(url, compression=None, proxy=None, ping_interval=None, open_timeout=60)
    me = BridgeIdentity(bridge_id=f"crowd-{number}", boot_id="boot", name="crowd", client={})
    link = BridgeLink(me, token, Outbox(), time.monotonic())
    link.authenticate()
    while (frame := link.next_frame()) is not None:
        await socket.send(frame, text=True)
    while not link.live:
        link.receive(decode(await socket.recv()), time.monotonic())
    return socket


async def main() -> None:
    raise_file_limit()
    url, tokens, count = sys.argv[1], json.loads(sys.argv[2]), int(sys.argv[3])
    begun = time.monotonic()
    sockets = await asyncio.gather(*(one(url, tokens[number % len(tokens)], number) for number in range(count)))
    print(time.monotonic() - begun, flush=True)
    await asyncio.Event().wait()
    assert sockets


if __name__ == "__main__":
    asyncio.run(main())

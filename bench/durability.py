"""Acknowledged messages per second with fsync on, beside what the disk itself can do."""

import asyncio
import os
import tempfile
import time
from typing import Any

from bench.processes import figure
from bench.streaming import Rig

Figures = list[dict[str, Any]]


def sync_times(count: int) -> list[float]:
    """Milliseconds of `count` 300-byte appends with fdatasync, two milliseconds apart."""
    taken = []
    with tempfile.NamedTemporaryFile(dir=tempfile.gettempdir()) as file:
        for _ in range(count):
            time.sleep(0.002)
            begun = time.perf_counter()
            os.write(file.fileno(), b"x" * 299 + b"\n")
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - begun) * 1000)
    return taken


def disk_syncs(seconds: float) -> float:
    """How many 300-byte appends with fdatasync this disk takes in a second."""
    with tempfile.NamedTemporaryFile(dir=tempfile.gettempdir()) as file:
        count, begun = 0, time.monotonic()
        while time.monotonic() - begun < seconds:
            os.write(file.fileno(), b"x" * 299 + b"\n")
            os.fdatasync(file.fileno())
            count += 1
        return count / (time.monotonic() - begun)


async def acknowledged(quick: bool) -> Figures:
    """64 senders, each waiting for its acknowledgement."""
    senders, seconds = 64, 2.0 if quick else 8.0
    async with Rig() as rig:
        clients = await rig.clients("gateway", senders)
        count, until = 0, time.monotonic() + seconds

        async def send(client: Any, number: int) -> None:
            nonlocal count
            turn = 0
            while time.monotonic() < until:
                turn += 1
                await client.call("chat.send_stream", text="/help", session_key=f"ack {number} {turn // 50} {until}")
                count += 1

        begun = time.monotonic()
        await asyncio.gather(*(send(client, number) for number, client in enumerate(clients)))
        rate = count / (time.monotonic() - begun)
    return [
        figure("acknowledged messages per second, 64 senders", rate, "1/s"),
        figure("the disk's own synced appends per second", disk_syncs(1.0 if quick else 3.0), "1/s"),
    ]

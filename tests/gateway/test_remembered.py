"""Answers under an idempotency key: as many and as large as is bearable, and never one that runs."""

import asyncio

import pytest

from bus.events import JsonObject
from gateway.handlers.remembered import Remembered

MEGABYTE = 1024 * 1024


async def answered(kept: Remembered, key: str, answer: JsonObject) -> JsonObject:
    async def run() -> JsonObject:
        return answer

    return await kept.enter(("alice", key), "content").once(run)


def large(name: str) -> JsonObject:
    return {"content": [{"type": "text", "text": name * MEGABYTE}]}


async def test_large_answers_do_not_fill_the_memory() -> None:
    kept = Remembered(most_bytes=3 * MEGABYTE)
    for number in range(10):
        await answered(kept, str(number), large("x"))
        assert kept.weight <= 3 * MEGABYTE
    assert (await answered(kept, "9", large("y")))["content"][0]["text"][0] == "x"  # the newest is still there
    assert (await answered(kept, "0", large("y")))["content"][0]["text"][0] == "y"


async def test_an_answer_of_many_small_values_weighs_too() -> None:
    kept = Remembered(most_bytes=MEGABYTE)
    await answered(kept, "1", {"structured_content": list(range(1_000_000))})
    assert kept.weight == 0


async def test_one_that_runs_is_never_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.handlers.remembered._KEPT", 10)
    kept, runs, go = Remembered(), 0, asyncio.Event()

    async def run() -> JsonObject:
        nonlocal runs
        runs += 1
        await go.wait()
        return {"n": runs}

    first = asyncio.create_task(kept.enter("slow", "content").once(run))
    await asyncio.sleep(0)
    for number in range(30):
        await answered(kept, str(number), {"n": 0})
    second = asyncio.create_task(kept.enter("slow", "content").once(run))
    await asyncio.sleep(0)
    go.set()
    assert (await first, await second, runs) == ({"n": 1}, {"n": 1}, 1)

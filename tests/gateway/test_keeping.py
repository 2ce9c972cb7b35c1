"""A service that breaks begins again and takes nobody down with it."""

import asyncio
import logging

import pytest

from gateway.keeping import keep, once


class Breaking:
    """Breaks `times` times, then serves until cancelled."""

    def __init__(self, times: int) -> None:
        self.times = times
        self.runs = 0
        self.serving = asyncio.Event()

    async def run(self) -> None:
        self.runs += 1
        if self.runs <= self.times:
            raise RuntimeError("a fault of ours")
        self.serving.set()
        await asyncio.Event().wait()


async def test_what_breaks_begins_again_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    bad, good = Breaking(3), Breaking(0)
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(keep(name, one.run, pause=(0.01, 0.02))) for name, one in
                 (("bad", bad), ("good", good))]  # fmt: skip
        async with asyncio.timeout(5):
            await bad.serving.wait()
        assert (bad.runs, good.runs) == (4, 1)
        for task in tasks:
            task.cancel()
    told = [record for record in caplog.records if record.name == "gateway.keeping"]
    assert len(told) == 3 and all(record.exc_info and "bad" in record.message for record in told)


async def test_a_service_that_is_over_is_not_begun_again() -> None:
    runs = []

    async def run() -> None:
        runs.append(1)

    await asyncio.wait_for(keep("short", run), 5)
    assert runs == [1]


async def test_what_only_makes_others_quick_may_fail(caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        raise ImportError("a package half imported by another thread")

    with caplog.at_level(logging.ERROR, "gateway.keeping"):
        await once("making the tools ready", broken)
    assert "making the tools ready failed" in caplog.text

"""Numbers that no record stands behind: what is said with them is told once the disk knows that they are given."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent.lane import Lane
from agent.sessions.jsonl_store import JsonlStore
from agent.window import Window
from bus.events import ChatDelta
from tests.fakes.disks import RefusingDisk, WaitingDisk
from tests.fakes.session_records import head_of, key_of, said

KEY = key_of()


def lane_over(store: JsonlStore, told: list[Any]) -> Lane:
    return Lane(KEY, None, Window(40, 8000, group=False), store, told.append, lambda lane: None)


def say(lane: Lane) -> int:
    seq = lane.take_unstored()
    lane.emit(ChatDelta(KEY, "m1", seq, "a"))
    return seq


async def until(true: Callable[[], Any]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.01)


async def test_nothing_is_told_before_its_number_is_on_the_disk(tmp_path: Path) -> None:
    disk, told = WaitingDisk(), list[Any]()
    async with JsonlStore(tmp_path / "sessions", disk=disk) as store:
        lane = lane_over(store, told)
        lane.current = "m1"
        await lane.append(said(lane.take()), head=head_of(KEY))
        disk.open.clear()
        numbers = [say(lane), say(lane)]
        await asyncio.sleep(0.05)
        assert told == []
        disk.open.set()
        await until(lambda: [event.seq for event in told] == numbers)
        numbers.append(say(lane))
        assert [event.seq for event in told] == numbers, "within a block nothing waits"


@pytest.mark.attack(71)
@pytest.mark.parametrize("goes_on", [True, False])
async def test_what_the_disk_refused_to_reserve_is_told_behind_a_later_record_or_never(
    tmp_path: Path, goes_on: bool
) -> None:
    disk, told = RefusingDisk(), list[Any]()
    async with JsonlStore(tmp_path / "sessions", disk=disk) as store:
        lane = lane_over(store, told)
        lane.current = "m1"
        await lane.append(said(lane.take()), head=head_of(KEY))
        disk.refuses = {"write"}
        numbers = [say(lane)]
        await until(lambda: lane.reserved == 0)
        numbers.append(say(lane))
        await until(lambda: lane.reserved == 0)
        assert told == []
        disk.refuses = set()
        if goes_on:
            while not told:
                numbers.append(say(lane))
                await asyncio.sleep(0.02)
            await until(lambda: [event.seq for event in told] == numbers)
            state = await store.state(KEY)
            assert state is not None and state.last_seq >= numbers[-1]
        else:
            lane.forget_uncovered()
            lane.current = None
            assert told == [] and lane.idle

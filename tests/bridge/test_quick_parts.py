"""The small parts under calls without a task: places, one alarm for all deadlines, known keys, rows by the dozen."""

import asyncio
import time
from pathlib import Path

import pytest

from bridge.clock import CallClock
from bridge.database import Database
from bridge.known import Known
from bridge.ledger import Ledger
from bridge.ledger_rows import Row, forget, store
from bridge.protocol.outbox import Answer
from bridge.servers import turn
from bridge.servers.alarm import Alarm
from bridge.servers.slots import Slots


async def test_places_are_given_in_the_order_of_asking() -> None:
    slots = Slots(2)
    slots.take_free()
    await slots.take()
    assert not slots.free
    order: list[int] = []

    async def wait(number: int) -> None:
        await slots.take()
        order.append(number)

    waiting = [asyncio.create_task(wait(number)) for number in range(3)]
    await asyncio.sleep(0)
    waiting[1].cancel()
    slots.give()
    slots.give()
    await asyncio.wait(waiting)
    assert order == [0, 2]
    assert not slots.free
    slots.give()
    assert slots.free


async def test_a_place_given_to_one_who_is_cancelled_goes_on() -> None:
    slots = Slots(1)
    await slots.take()
    task = asyncio.create_task(slots.take())
    await asyncio.sleep(0)
    slots.give()  # handed over, and in the same turn
    task.cancel()  # not wanted any more
    await asyncio.wait({task})
    assert slots.free


async def test_one_alarm_for_many_clocks() -> None:
    alarm, rung = Alarm(), []
    begun = time.monotonic()
    clocks = {name: CallClock(seconds, alarm) for name, seconds in
              (("late", 0.3), ("soon", 0.05), ("stopped", 0.1), ("paused", 0.1), ("reset", 10.0))}  # fmt: skip
    for name, clock in clocks.items():
        clock.watch(lambda name=name: rung.append((name, time.monotonic() - begun)))
    clocks["stopped"].stop()
    clocks["paused"].pause()
    clocks["reset"].reset(0.2)
    await asyncio.sleep(0.35)
    assert [name for name, _ in rung] == ["soon", "reset", "late"]
    for (_, at), wanted in zip(rung, (0.05, 0.2, 0.3), strict=True):
        assert at >= wanted - 0.002
    assert clocks["soon"].passed and not clocks["paused"].passed
    clocks["paused"].resume()
    await asyncio.sleep(0.15)
    assert clocks["paused"].passed


async def test_a_limit_holds_whatever_is_said_later() -> None:
    clock = CallClock(10, Alarm())
    clock.limit(2)
    clock.reset(30)
    assert 1.9 < clock.remaining() <= 2


def test_a_known_key_is_never_taken_for_new() -> None:
    keys = [f"user:{number}" for number in range(5000)]
    known = Known(keys)
    assert all(key in known for key in keys)
    assert sum(f"key_{number}" in known for number in range(5000)) < 50


@pytest.mark.parametrize("count", [1, 2, 3, 47, 48, 49, 64, 100])
def test_rows_of_any_number(tmp_path: Path, count: int) -> None:
    database = Database(tmp_path / "ledger.sqlite")
    rows = {
        f"key {number}": Row(f"id {number}", "content", "tool", "done", Answer("MCP_RESPONSE", b"x" * number), "done")
        for number in range(count)
    }
    rows["refused"] = Row("id", "content", "tool", "done", Answer("ERROR", b"{}"), "none")
    database.write(*store(rows, 1.0))
    database.write(*forget(list(rows), 2.0, 30))
    database.close()
    database = Database(tmp_path / "ledger.sqlite")
    kept = database.read("SELECT key, state, length(answer), created, updated FROM calls")
    assert {key for key, *_ in kept} == rows.keys() - {"refused"}
    for key, state, length, created, updated in kept:
        number = int(key.split()[1])
        assert (state, length, created, updated) == ("acknowledged", number if 0 < number <= 30 else None, 1.0, 2.0)
    database.close()


async def test_a_ledger_knows_its_keys_after_a_restart(tmp_path: Path) -> None:
    database = Database(tmp_path / "ledger.sqlite")
    ledger = Ledger(database)
    assert ledger.look("a", "content", idempotent=False, attempt=1).meaning == "new"
    await ledger.started("a", Row("id", "content", "tool", "started"))
    ledger.done_soon("b", Row("id b", "content", "tool", "done", Answer("MCP_RESPONSE", b"{}"), "done"))
    assert ledger.busy("b")
    ledger.flush()
    database.close()
    database = Database(tmp_path / "ledger.sqlite")
    ledger = Ledger(database)
    assert ledger.look("a", "content", idempotent=False, attempt=2).meaning == "unknown"
    assert ledger.look("a", "other", idempotent=False, attempt=2).meaning == "conflict"
    assert ledger.look("b", "content", idempotent=False, attempt=2).answer == Answer("MCP_RESPONSE", b"{}")
    assert [key for key, _ in ledger.interrupted()] == ["a"]
    database.close()


async def test_what_belongs_to_a_piece_of_input_is_done_at_its_end() -> None:
    done: list[str] = []
    assert turn.begin()
    assert not turn.begin()  # one within the other: the outer one's end counts
    turn.at_the_end(lambda: done.append("first"))
    assert done == []
    turn.end()
    assert done == ["first"]
    turn.at_the_end(lambda: done.append("alone"))
    assert done == ["first"]
    await asyncio.sleep(0)
    assert done == ["first", "alone"]


async def test_a_mistake_at_the_end_is_the_loops_to_tell() -> None:
    told: list[dict[str, object]] = []
    done: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

    def fails() -> None:
        raise RuntimeError("no")

    turn.begin()
    turn.at_the_end(fails)
    turn.at_the_end(lambda: done.append("the next"))
    turn.end()
    assert done == ["the next"]
    assert isinstance(told[0]["exception"], RuntimeError)

"""Many sessions: listed without reading their files, opened at once, and costing nothing when they are done."""

import asyncio
import gc
import pathlib
import shutil
import sqlite3
import time
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sessions.index import Index, Row
from agent.sessions.jsonl_store import JsonlStore
from agent.sessions.lines import encode, head_line, joined
from agent.sessions.session import file_of
from agent.sessions.summary import begun, folded
from bus.keys import SessionKey
from tests.fakes.session_records import answered, head_of, said


def key_number(number: int) -> SessionKey:
    return SessionKey(f"talk {number}", f"user{number % 100}")


def plant(folder: Path, count: int, *, files: bool) -> None:
    """An index of `count` finished sessions, with or without their files."""
    folder.mkdir(parents=True)
    index = Index(folder / "index.sqlite")
    index.create()

    def row(number: int) -> Row:
        key = key_number(number)
        head = head_of(key, owner=key.scope, title=f"Talk {number}")
        records = [said(1, f"hello {number}"), answered(2, "m1")]
        content = head_line(head) + joined(map(encode, records))
        if files:
            path = file_of(folder, key)
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        return Row(folded(begun(head, None), records, number + 1), len(content))

    index.write(map(row, range(count)), (), (), forget_before=0)
    index.close()


async def listing(folder: Path, count: int, *, start_seconds: float, page_seconds: float) -> None:
    begun_at = time.perf_counter()
    async with JsonlStore(folder) as store:
        assert time.perf_counter() - begun_at < start_seconds
        begun_at = time.perf_counter()
        heads, cursor = await store.list_sessions(None, limit=50)
        assert [head.title for head in heads] == [f"Talk {count - 1 - n}" for n in range(50)]
        heads, _ = await store.list_sessions(None, limit=50, cursor=cursor)
        assert heads[0].title == f"Talk {count - 51}"
        mine, _ = await store.list_sessions("user7", limit=count)
        assert len(mine) == count // 100 and {head.owner for head in mine} == {"user7"}
        assert await store.open_turns() == []
        assert time.perf_counter() - begun_at < page_seconds


async def test_five_thousand_are_listed_from_the_index_alone(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    plant(folder, 5000, files=False)  # there are no files that could be read
    await listing(folder, 5000, start_seconds=1, page_seconds=1)


@pytest.mark.slow
async def test_a_hundred_thousand_are_listed_and_opened_within_a_second(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    plant(folder, 100_000, files=True)
    await listing(folder, 100_000, start_seconds=1, page_seconds=1)
    (folder / "index.sqlite").unlink()
    async with JsonlStore(folder) as store:  # from the files: longer, but all of them
        assert len((await store.list_sessions("user7", limit=2000))[0]) == 1000
    shutil.rmtree(folder)


def traced() -> int:
    """Bytes held, without pathlib's table of interned names, which grows in leaps."""
    gc.collect()
    snapshot = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(False, pathlib.__file__)])
    return sum(trace.size for trace in snapshot.traces)


@pytest.fixture
def tracing() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


async def finish(store: JsonlStore, first: int, last: int, size: int) -> None:
    """Sessions of one turn each, until nothing of them is on its way any more."""

    async def one(number: int) -> None:
        key = key_number(number)
        record = said(1, "x" * size, idempotency_key=f"{number}", content_hash="h" * 32)
        await store.append(key, [record], head=head_of(key))
        await store.append(key, [answered(2, "m1", "y" * size)])
        await store.history(key)

    for number in range(first, last, 50):
        await asyncio.gather(*map(one, range(number, number + 50)))
    while store.stats()["unwritten"]:
        await asyncio.sleep(0.001)


@pytest.mark.usefixtures("tracing")
async def test_a_finished_session_leaves_nothing_in_memory(tmp_path: Path) -> None:
    async with JsonlStore(tmp_path / "sessions", checkpoint_sessions=100) as store:
        await finish(store, 0, 500, 500)
        await store.checkpoint()
        before = traced()
        await finish(store, 500, 1500, 500)
        await store.checkpoint()
        assert traced() - before < 200_000, "200 bytes a finished session would be too many"
        sizes = store.stats()
        assert sizes["live"] == sizes["unwritten"] == sizes["keys"] == sizes["on_the_way"] == 0
        assert sizes["cached"] <= 256


@pytest.mark.usefixtures("tracing")
async def test_an_idle_session_costs_little(tmp_path: Path) -> None:
    async with JsonlStore(tmp_path / "sessions") as store:
        await finish(store, 0, 50, 2000)
        before = traced()
        await finish(store, 50, 550, 2000)
        each = (traced() - before) / 500
        assert each < 4000, f"{each:.0f} bytes a session before its checkpoint"


async def test_the_index_stays_small_and_private(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    plant(folder, 2000, files=False)
    assert (folder / "index.sqlite").stat().st_size < 2000 * 1000
    connection = sqlite3.connect(folder / "index.sqlite")
    plan = connection.execute(
        "EXPLAIN QUERY PLAN SELECT 1 FROM sessions WHERE shown = 1 AND owner = 'x' ORDER BY touched DESC"
    ).fetchall()
    connection.close()
    assert "by_owner" in str(plan) and "TEMP B-TREE" not in str(plan)

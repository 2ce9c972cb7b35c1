"""What sets out together, and what a command of the writer stands between."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.sessions.disk import Disk
from agent.sessions.jsonl_store import JsonlStore
from agent.sessions.writer import MAX_BATCH
from tests.fakes.session_records import NOW, head_of, key_of, said

KEY = key_of()
MIB = 1 << 20


class HeldDisk(Disk):
    """Works when it is let, and remembers how much each synced write was."""

    def __init__(self) -> None:
        self.going = threading.Event()
        self.going.set()
        self.reached = threading.Event()
        self.sizes: list[int] = []

    def write_synced(self, fd: int, data: bytes) -> None:
        self.reached.set()
        self.going.wait(30)
        self.sizes.append(len(data))
        super().write_synced(fd, data)


@pytest.fixture
def disk() -> HeldDisk:
    return HeldDisk()


@pytest.fixture
async def store(tmp_path: Path, disk: HeldDisk) -> AsyncIterator[JsonlStore]:
    async with JsonlStore(tmp_path / "sessions", clock=lambda: NOW, disk=disk) as store:
        await store.append(KEY, [said(1, "first")], head=head_of(KEY))
        yield store
        disk.going.set()


async def test_what_comes_while_the_disk_works_goes_in_few_batches_of_bounded_size(
    store: JsonlStore, disk: HeldDisk
) -> None:
    disk.going.clear()
    disk.sizes.clear()
    small = [store.append(KEY, [said(seq, f"{seq}")]) for seq in range(2, 102)]
    large = [store.append(KEY, [said(seq, "x" * MIB)]) for seq in range(102, 112)]
    disk.going.set()
    await asyncio.gather(*small, *large)
    assert len(disk.sizes) <= 6
    assert max(disk.sizes) < MAX_BATCH + 2 * MIB
    assert [record.seq for record in await store.read(KEY)] == list(range(1, 112))


async def test_what_is_appended_behind_a_command_is_written_behind_it(
    store: JsonlStore, disk: HeldDisk, tmp_path: Path
) -> None:
    disk.going.clear()
    disk.reached.clear()
    working = store.append(KEY, [said(2, "working")])
    await asyncio.to_thread(disk.reached.wait, 30)
    before = store.append(KEY, [said(3, "before")])
    backup = asyncio.create_task(store.backup(tmp_path / "copy"))
    await asyncio.sleep(0.05)
    behind = store.append(KEY, [said(4, "behind")])
    disk.going.set()
    await asyncio.gather(working, before, backup, behind)
    async with JsonlStore(tmp_path / "copy", clock=lambda: NOW) as copy:
        assert [record.data["text"] for record in await copy.read(KEY)] == ["first", "working", "before"]
    assert [record.seq for record in await store.read(KEY)] == [1, 2, 3, 4]

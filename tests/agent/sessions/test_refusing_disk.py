"""A disk that is full, or fails to sync: nothing is acknowledged, and what comes after is whole."""

import asyncio
import errno
import logging
from pathlib import Path

import pytest

from agent.sessions.disk import Disk
from agent.sessions.journal import HEADER
from agent.sessions.jsonl_store import JsonlStore
from agent.sessions.session import file_of
from bus.errors import Overloaded
from tests.fakes.disks import RefusingDisk
from tests.fakes.session_records import NOW, answered, head_of, key_of, said

KEY = key_of()


@pytest.fixture
def disk() -> RefusingDisk:
    return RefusingDisk()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="agent.sessions")


async def settled(store: JsonlStore, what: str) -> None:
    """The files follow the acknowledgement, not the other way round."""
    async with asyncio.timeout(5):
        while store.stats()[what]:
            await asyncio.sleep(0.001)


async def seqs(store: JsonlStore) -> list[int]:
    return [record.seq for record in await store.read(KEY)]


@pytest.mark.attack(71)
@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("error_number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize(
    "refused",
    [{"write"}, {"sync_data"}, {"write", "truncate"}, {"write", "truncate", "sync_data"}, {"sync_data", "replace"}],
)
async def test_nothing_refused_is_kept_and_what_follows_is_whole(
    folder: Path, disk: RefusingDisk, refused: set[str], error_number: int, torn: bool
) -> None:
    disk.torn, disk.error = torn, error_number
    async with JsonlStore(folder, disk=disk) as store:
        await store.append(KEY, [said(1)], head=head_of(KEY))
        disk.refuses = refused
        for _ in range(2):
            with pytest.raises(Overloaded) as error:
                await store.append(KEY, [said(2, "lost", idempotency_key="k")])
            assert error.value.code == 1007 and error.value.retry_after_ms
            assert await seqs(store) == [1] and await store.duplicate("alice", "k") is None
            state = await store.state(KEY)
            assert state is not None and state.last_seq == 1 and state.open_turns == ("m1",)
        disk.refuses = set()
        await store.append(KEY, [said(2, "kept"), answered(3, "m1")])
        journal = (folder / "journal.jsonl").read_bytes()
        assert b"lost" not in journal and journal.startswith(HEADER) and journal.endswith(b"}\n")
        assert journal.count(b"\n") == 3
    async with JsonlStore(folder) as store:
        assert [record.data["text"] for record in await store.read(KEY)] == ["hello", "kept", "hi there"]


@pytest.mark.attack(71)
async def test_what_waits_behind_a_refused_batch_is_refused_too(folder: Path, disk: RefusingDisk) -> None:
    async with JsonlStore(folder, disk=disk) as store:
        disk.refuses = {"write"}
        first = store.append(KEY, [said(1)], head=head_of(KEY))
        later = [store.append(KEY, [said(seq)]) for seq in range(2, 9)]
        other = store.append(key_of("bob"), [said(1)], head=head_of(key_of("bob"), owner="bob"))
        outcomes = await asyncio.gather(first, *later, other, return_exceptions=True)
        assert all(isinstance(outcome, Overloaded) for outcome in outcomes)
        assert await store.state(KEY) is None and await store.state(key_of("bob")) is None
        disk.refuses = set()
        await store.append(KEY, [said(9)], head=head_of(KEY))
        assert await seqs(store) == [9]


@pytest.mark.attack(71)
async def test_after_a_failed_sync_the_journal_is_another_file(folder: Path, disk: RefusingDisk) -> None:
    async with JsonlStore(folder, disk=disk) as store:
        await store.append(KEY, [said(1)], head=head_of(KEY))
        before = (folder / "journal.jsonl").stat().st_ino
        content = (folder / "journal.jsonl").read_bytes()
        disk.refuses, disk.error, disk.only = {"sync_data"}, errno.EIO, "journal.jsonl"
        with pytest.raises(Overloaded):
            await store.append(KEY, [said(2)])
        disk.refuses = set()
        assert (folder / "journal.jsonl").stat().st_ino != before
        assert (folder / "journal.jsonl").read_bytes() == content
        await store.append(KEY, [said(2)])


@pytest.mark.attack(71)
@pytest.mark.parametrize("torn", [False, True])
async def test_a_session_file_that_cant_be_written_holds_nobody_up(
    folder: Path, disk: RefusingDisk, torn: bool
) -> None:
    path, disk.torn = file_of(folder, KEY), torn
    async with JsonlStore(folder, disk=disk) as store:
        await store.append(KEY, [said(1)], head=head_of(KEY))
        disk.refuses, disk.only = {"write", "truncate"}, path.name
        await store.append(KEY, [said(2)])
        await store.append(KEY, [said(3), said(4)])
        assert await seqs(store) == [1, 2, 3, 4]
        assert len((await store.history(KEY))[0]) == 4
        await store.checkpoint()
        assert store.stats()["lagging"] == 1
        assert (folder / "journal.jsonl").stat().st_size > len(HEADER), "the journal is all that has them"
        disk.refuses = set()
        await store.append(KEY, [said(5)])
        await settled(store, "lagging")
        assert await seqs(store) == [1, 2, 3, 4, 5]
    assert path.read_bytes().count(b"\n") == 6
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5]


@pytest.mark.attack(71)
async def test_a_file_whose_sync_failed_is_written_anew_from_the_journal(folder: Path, disk: RefusingDisk) -> None:
    path = file_of(folder, KEY)
    async with JsonlStore(folder, disk=disk) as store:
        await store.append(KEY, [said(1)], head=head_of(KEY))
        await store.checkpoint()
        await store.append(KEY, [said(2), said(3)])
        await settled(store, "unwritten")
        whole = path.read_bytes()
        disk.refuses, disk.error, disk.only = {"sync_data"}, errno.EIO, path.name
        await store.checkpoint()
        assert store.stats()["checkpoint_errors"] == 1
        disk.refuses = set()
        path.write_bytes(whole[: whole.index(b'{"seq":2')] + bytes(100))  # what the kernel kept of it
        await store.checkpoint()
        assert path.read_bytes() == whole and store.stats()["checkpoints"] == 2
        assert await seqs(store) == [1, 2, 3]


@pytest.mark.attack(71)
async def test_a_checkpoint_that_fails_loses_nothing(folder: Path, disk: RefusingDisk) -> None:
    async with JsonlStore(folder, disk=disk, clock=lambda: NOW) as store:
        for seq in range(1, 6):
            record = said(seq, idempotency_key=f"k{seq}")
            await store.append(KEY, [record], head=head_of(KEY) if seq == 1 else None)
            disk.refuses = {"sync_data"} if seq % 2 else {"replace"}
            disk.only = ".jsonl" if seq % 2 else ""
            if seq == 1:
                disk.only = file_of(folder, KEY).name
            await store.checkpoint()
            disk.refuses = set()
        assert store.stats()["checkpoint_errors"] >= 3
        assert await seqs(store) == [1, 2, 3, 4, 5]
    async with JsonlStore(folder, clock=lambda: NOW) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5]
        assert [(await store.duplicate("alice", f"k{seq}")).seq for seq in range(1, 6)] == [1, 2, 3, 4, 5]
    assert not list(folder.glob("journal*"))


@pytest.mark.attack(71)
async def test_a_store_that_closes_on_a_bad_disk_is_recovered(folder: Path, disk: RefusingDisk) -> None:
    async with JsonlStore(folder, disk=disk) as store:
        await store.append(KEY, [said(1), said(2)], head=head_of(KEY))
        disk.refuses = {"sync_data", "write", "replace"}
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2]
        assert (await store.list_sessions("alice", limit=9))[0]


@pytest.mark.attack(71)
async def test_without_free_descriptors_nothing_is_lost(folder: Path) -> None:
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with JsonlStore(folder) as store:
        keys = [key_of(f"user{n}") for n in range(90)]
        for key in keys:
            await store.append(key, [said(1)], head=head_of(key))
        used = len(list(Path("/proc/self/fd").iterdir()))
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
        try:
            for key in keys:
                await store.append(key, [said(2)])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for key in keys:
            assert [record.seq for record in await store.read(key)] == [1, 2]
    async with JsonlStore(folder) as store:
        for key in keys:
            assert [record.seq for record in await store.read(key)] == [1, 2]


async def test_the_real_disk_appends_what_it_syncs(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    real = Disk()
    fd = real.open_append(folder / "file")
    try:
        real.write(fd, b"one\n")
        for line in (b"two\n", b"three\n" * 100_000):
            real.write_synced(fd, line)
        assert (folder / "file").read_bytes() == b"one\ntwo\n" + b"three\n" * 100_000
    finally:
        real.close(fd)


async def test_what_is_refused_leaves_nothing_in_memory(folder: Path, disk: RefusingDisk) -> None:
    async with JsonlStore(folder, disk=disk) as store:
        await store.append(KEY, [said(1), answered(2, "m1")], head=head_of(KEY))
        await store.checkpoint()
        await settled(store, "live")
        disk.refuses = {"write", "sync_data"}
        for n in range(20):
            with pytest.raises(Overloaded):
                await store.append(key_of(f"user{n}"), [said(1)], head=head_of(key_of(f"user{n}")))
            both = [store.append(KEY, [said(3)]), store.append(KEY, [said(4)])]
            assert all(isinstance(one, Overloaded) for one in await asyncio.gather(*both, return_exceptions=True))
        disk.refuses = set()
        assert store.stats()["live"] == 0
        assert await store.state(key_of("user1")) is None
        await store.append(KEY, [said(3)])
        assert await seqs(store) == [1, 2, 3]

"""Backups while serving, erasing for good, closing, and what the figures say."""

import asyncio
from pathlib import Path

import pytest

from agent.ports.sessions import SessionStore
from agent.sessions.jsonl_store import JsonlStore
from bus.errors import Conflict, Overloaded
from bus.keys import SessionKey
from tests.fakes.disks import WaitingDisk
from tests.fakes.session_records import NOW, answered, head_of, key_of, said, started, updated

KEY = key_of()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sessions"


def it_is_a_session_store(store: JsonlStore) -> SessionStore:
    """For the type checker."""
    return store


async def test_a_backup_made_while_serving_opens_as_a_store(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "backup"
    async with JsonlStore(folder, clock=lambda: NOW, checkpoint_sessions=5) as store:
        going = True
        written: dict[str, int] = {}

        async def talk(user: str) -> None:
            key, seq = key_of(user), 0
            while going:
                seq += 1
                record = said(seq, f"{user} {seq}", user=user, idempotency_key=f"{seq}")
                await store.append(key, [record], head=head_of(key, owner=user) if seq == 1 else None)
                written[user] = seq
                await asyncio.sleep(0)

        talks = asyncio.gather(*[talk(f"user{n}") for n in range(8)])
        while len(written) < 8:
            await asyncio.sleep(0.005)
        before = dict(written)
        assert await store.backup(copy) == 8
        after = dict(written)
        going = False
        await talks
        with pytest.raises(Conflict):
            await store.backup(copy)
    assert not list(copy.glob("journal*"))
    async with JsonlStore(copy, clock=lambda: NOW) as store:
        assert len((await store.list_sessions(None, limit=20))[0]) == 8
        for user in before:
            texts = [record.data["text"] for record in await store.read(key_of(user))]
            assert texts == [f"{user} {seq + 1}" for seq in range(len(texts))]
            assert before[user] <= len(texts) <= after[user] + 1
            assert await store.duplicate(user, "1") is not None
            await store.append(key_of(user), [said(len(texts) + 1)])


async def test_a_backup_of_what_changes_meanwhile(folder: Path, tmp_path: Path) -> None:
    """The files are copied as they are: deleted ones as tombstones, new ones not at all."""
    from agent.sessions.backup import copy_store

    copy = tmp_path / "backup"
    async with JsonlStore(folder) as store:
        for user in ("alice", "bob", "carol"):
            await store.append(key_of(user), [said(1, "the secret")], head=head_of(key_of(user), owner=user))
        await store.checkpoint()
        index = store._index
        original = index.copy_to

        def and_then(destination: Path) -> None:
            original(destination)
            store._writer.filing.files.replace(
                key_of("bob"),
                b'{"type":"session","version":1,"session_key":'
                b'"agent:main:websocket:direct:bob","scope":"","agent_id":"main","channel":"websocket","peer_id":"bob",'
                b'"owner":"bob","created_at":""}\n{"seq":2,"type":"session.updated","timestamp":"","deleted":true}\n',
            )
            store._writer.filing.files.remove(key_of("carol"))

        index.copy_to = and_then
        assert copy_store(store._disk, index, folder, copy, lambda: False) == 2
        del index.copy_to
    async with JsonlStore(copy) as store:
        assert [head.owner for head in (await store.list_sessions(None, limit=9))[0]] == ["alice"]
        assert (await store.state(key_of("bob"))).head.deleted
        assert await store.state(key_of("carol")) is None


async def test_deleting_erases_every_trace_of_what_was_said(folder: Path) -> None:
    secret, title = "pomegranate", "persimmon"
    async with JsonlStore(folder) as store:
        await store.append(KEY, [said(1, secret), answered(2, "m1", secret)], head=head_of(KEY, title=title))
        await store.append(KEY, [updated(3, title=title + "s", mode=secret)])
        await store.checkpoint()
        await store.append(KEY, [said(4, secret)])
        await store.append(KEY, [updated(5, deleted=True)])
        async with asyncio.timeout(5):
            while list(traces(folder, secret)) + list(traces(folder, title)):
                await asyncio.sleep(0.01)
    assert not list(traces(folder, secret)) + list(traces(folder, title))


def traces(folder: Path, text: str) -> list[str]:
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file() and text.encode() in path.read_bytes():
                found.append(path.name)
        except FileNotFoundError:
            pass
    return found


async def test_a_closed_store_says_so(folder: Path) -> None:
    store = JsonlStore(folder)
    async with store:
        durable = store.append(KEY, [said(1)], head=head_of(KEY))
    assert durable.done() and not durable.exception(), "what was on its way arrives first"
    with pytest.raises(Overloaded):
        store.append(KEY, [said(2)])
    other = key_of("other")
    for late in (lambda: store.state(other), lambda: store.read(KEY), lambda: store.list_sessions(None),
                 lambda: store.duplicate("a", "b"), lambda: store.history(KEY)):  # fmt: skip
        with pytest.raises(Overloaded):
            await late()
    await store.close()


async def test_a_cancelled_sender_takes_nobody_with_him(folder: Path) -> None:
    async with JsonlStore(folder) as store:
        durable = store.append(KEY, [said(1)], head=head_of(KEY))
        sender = asyncio.ensure_future(asyncio.wait_for(asyncio.shield(durable), 5))
        await asyncio.sleep(0)
        sender.cancel()
        durable.cancel()
        await store.append(KEY, [said(2)])
        assert [record.seq for record in await store.read(KEY)] == [1, 2]


async def test_a_start_that_is_cancelled_gives_the_folder_back(folder: Path) -> None:
    for _ in range(3):
        starting = asyncio.ensure_future(JsonlStore(folder).__aenter__())
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
    async with JsonlStore(folder):
        pass


async def test_nothing_to_write_is_written_at_once(folder: Path) -> None:
    async with JsonlStore(folder) as store:
        assert store.append(KEY, []).done()
        assert await store.state(KEY) is None


async def test_the_figures(folder: Path) -> None:
    async with JsonlStore(folder) as store:
        await asyncio.gather(
            *[store.append(key_of(f"u{n}"), [said(1)], head=head_of(key_of(f"u{n}"))) for n in range(20)]
        )
        stats = store.stats()
        assert stats["appends"] == 20 and 1 <= stats["batches"] <= 20, "what arrives together is synced together"
        assert stats["sync_seconds"] > 0 and stats["refusals"] == 0 and stats["journal_bytes"] > 20 * 100
        await store.checkpoint()
        assert store.stats()["journal_bytes"] < 100 and store.stats()["checkpoints"] == 1


async def test_what_arrives_during_a_sync_is_the_next_batch(folder: Path) -> None:
    """No timer: a lone message is synced at once, and a crowd that comes meanwhile together."""
    disk = WaitingDisk()
    async with JsonlStore(folder, disk=disk) as store:
        disk.open.clear()
        lone = store.append(KEY, [said(1)], head=head_of(KEY))
        async with asyncio.timeout(5):
            while not disk.waiting:
                await asyncio.sleep(0.001)
        crowd = [store.append(key_of(f"u{n}"), [said(1)], head=head_of(key_of(f"u{n}"))) for n in range(200)]
        disk.open.set()
        await asyncio.gather(lone, *crowd)
        assert store.stats()["batches"] == 2


async def test_history_keeps_what_is_asked_for_small(folder: Path) -> None:
    """Settings, marks and approvals are in the log and not in the history."""
    async with JsonlStore(folder) as store:
        key = SessionKey("private", "alice")
        await store.append(key, [said(1), updated(2, mode="fast"), answered(3, "m1")], head=head_of(key))
        assert [m["seq"] for m in (await store.history(key))[0]] == [1, 3]
        assert (await store.export(key))[0].count('"session_key":"private"') == 1


async def test_a_turn_that_goes_on_behind_a_tombstone_keeps_no_numbers_from_the_session_that_comes_after(
    folder: Path,
) -> None:
    async with JsonlStore(folder, clock=lambda: NOW) as store:
        await store.append(KEY, [said(1)], head=head_of(KEY))
        await store.append(KEY, [updated(2, deleted=True)])
        await store.append(KEY, [started(3, "m1", reserved=1003)])
        await store.append(KEY, [said(5, "again")], head=head_of(KEY))
        assert [record.seq for record in await store.read(KEY)] == [5]
    async with JsonlStore(folder, clock=lambda: NOW) as store:
        await store.append(KEY, [said(6)])

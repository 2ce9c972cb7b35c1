"""Files that a crash, an editor or a stranger left in a bad state; keys and links that try to get out."""

import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.sessions.journal import JournalRefused
from agent.sessions.jsonl_store import JsonlStore
from agent.sessions.lines import NewerFormat
from agent.sessions.lock import FolderInUse
from agent.sessions.session import file_of
from bus.keys import SessionKey
from tests.fakes.session_records import answered, head_of, key_of, said

KEY = key_of()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home" / "sessions"


async def filled(folder: Path, key: SessionKey = KEY, turns: int = 3) -> Path:
    """A store with one session, cleanly closed; its file."""
    async with JsonlStore(folder) as store:
        for seq in range(1, 2 * turns, 2):
            await store.append(key, [said(seq), answered(seq + 1, f"m{seq}")], head=head_of(key) if seq == 1 else None)
    return file_of(folder, key)


async def seqs(store: JsonlStore, key: SessionKey = KEY) -> list[int]:
    return [record.seq for record in await store.read(key)]


def warnings_about(caplog: pytest.LogCaptureFixture, text: str) -> list[str]:
    return [record.getMessage() for record in caplog.records if text in record.getMessage()]


# ---------------------------------------------------------------- 70: torn and strange lines


@pytest.mark.attack(70)
@pytest.mark.parametrize(
    "tail", [b'{"seq":7,"type":"mess', b"\0" * 512, b'{"seq":7,"type":"message","text":"\xff', b"{"]
)
async def test_a_torn_tail_is_cut_and_kept_aside(folder: Path, tail: bytes) -> None:
    path = await filled(folder)
    whole = path.read_bytes()
    path.write_bytes(whole + tail)
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        assert (await store.state(KEY)).last_seq == 6
        await store.append(KEY, [said(7)])
        assert await seqs(store) == [1, 2, 3, 4, 5, 6, 7]
    assert path.read_bytes().startswith(whole + b'{"seq":7,"type":"message"')
    assert path.with_name(path.name + ".corrupt").read_bytes() == tail + b"\n"


@pytest.mark.attack(70)
async def test_a_large_line_that_was_torn_is_found_in_linear_time(folder: Path) -> None:
    path = await filled(folder)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":7,"type":"tool.finished","text":"' + b"a" * (32 << 20))
    async with JsonlStore(folder) as store:
        began = time.process_time()
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        assert time.process_time() - began < 2
    assert path.read_bytes() == whole


@pytest.mark.attack(70)
async def test_a_torn_tail_is_repaired_by_looking_at_it(folder: Path) -> None:
    path = await filled(folder)
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"seq":7,"ty')
    async with JsonlStore(folder) as store:
        assert len((await store.history(KEY))[0]) == 6
    assert path.read_bytes() == whole


@pytest.mark.attack(70)
async def test_a_last_line_without_its_end_is_not_lost(folder: Path) -> None:
    path = await filled(folder)
    path.write_bytes(path.read_bytes()[:-1])
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        await store.append(KEY, [said(7)])
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6, 7]
    assert not path.with_name(path.name + ".corrupt").exists()


@pytest.mark.attack(70)
@pytest.mark.parametrize(
    "garbage", [b"garbage\n", b"\0" * 4096 + b"\n", b"[1,2]\n", b'{"seq":"x"}\n', b"\xff\xfe\n\n\n"]
)
async def test_a_bad_line_in_the_middle_is_passed_over_with_one_warning(
    folder: Path, garbage: bytes, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.sessions.reader._warned", set())
    path = await filled(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + garbage + b"".join(lines[3:]))
    async with JsonlStore(folder) as store:
        for _ in range(3):
            assert await seqs(store) == [1, 2, 3, 4, 5, 6]
            assert len((await store.history(KEY))[0]) == 6
        await store.append(KEY, [said(7)])
        assert await seqs(store) == [1, 2, 3, 4, 5, 6, 7]
    assert len(warnings_about(caplog, "passed over")) == 1


@pytest.mark.attack(70)
async def test_lines_of_another_system_are_read(folder: Path) -> None:
    path = await filled(folder)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    (folder / "index.sqlite").unlink()
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        assert len((await store.history(KEY))[0]) == 6
        assert not any("\r" in line for line in await store.export(KEY))


@pytest.mark.attack(70)
async def test_nuls_before_a_line_do_not_hide_it(folder: Path) -> None:
    path = await filled(folder)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + b"\0" * 100 + b"".join(lines[3:]))
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]


@pytest.mark.attack(70)
@pytest.mark.parametrize("keep_index", [True, False])
async def test_an_empty_file_or_none_is_begun_again(folder: Path, keep_index: bool) -> None:
    path = await filled(folder)
    path.write_bytes(b"")
    if not keep_index:
        (folder / "index.sqlite").unlink()
    async with JsonlStore(folder) as store:
        state = await store.state(KEY)
        assert (state is not None) == keep_index
        seq = state.last_seq + 1 if state else 1
        await store.append(KEY, [said(seq)], head=head_of(KEY))
        assert await seqs(store) == [seq]
    assert path.read_bytes().startswith(b'{"type":"session","version":1,"session_key":"agent:main:websocket')


@pytest.mark.attack(70)
async def test_a_garbled_first_line_hides_no_records(folder: Path) -> None:
    path = await filled(folder)
    first, rest = path.read_bytes().split(b"\n", 1)
    path.write_bytes(b"?" * len(first) + b"\n" + rest)
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        head = (await store.state(KEY)).head
        assert head.owner == "alice" and head.message_count == 6


@pytest.mark.attack(70)
async def test_a_file_of_many_megabytes_is_paged_by_blocks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await filled(folder)
    line = b'{"seq":%d,"type":"message","timestamp":"2026-01-01T00:00:00.000Z","message_id":"m%d","text":"%s"}\n'
    filler = b"x" * 1000
    with path.open("ab") as file:
        for seq in range(7, 6_000):
            file.write(line % (seq, seq, filler))
    async with JsonlStore(folder) as store:
        assert (await store.state(KEY)).last_seq == 5_999
        read: list[int] = []
        take = store._disk.read_at
        monkeypatch.setattr(store._disk, "read_at", lambda fd, n, at: (read.append(n), take(fd, n, at))[1])
        for before in (None, 5_000, 3_000, 500):
            messages, more = await store.history(KEY, limit=20, before_seq=before)
            assert [m["seq"] for m in messages][-1] == (before or 6_000) - 1 and more
            assert sum(read) < 1 << 20, "blocks, not the file"
            read.clear()


@pytest.mark.attack(70)
async def test_the_journals_torn_tail_is_cut_and_its_bad_lines_are_passed_over(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = await killed(folder, tmp_path)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2]) + b"\0garbage\n" + b"".join(lines[2:]) + b'{"session_key":"agent:ma')
    async with JsonlStore(journal.parent) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        await store.append(KEY, [said(7)])
    async with JsonlStore(journal.parent) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6, 7]
    assert (journal.parent / "journal.jsonl.corrupt").read_bytes() == b'{"session_key":"agent:ma\n'
    assert len(warnings_about(caplog, "unreadable")) == 1 and len(warnings_about(caplog, "torn")) == 1


async def killed(folder: Path, tmp_path: Path) -> Path:
    """What a killed process leaves: the journal of a copy of the folder."""
    async with JsonlStore(folder) as store:
        for seq in (1, 3, 5):
            await store.append(KEY, [said(seq), answered(seq + 1, f"m{seq}")], head=head_of(KEY) if seq == 1 else None)
        shutil.copytree(folder, tmp_path / "killed")
    return tmp_path / "killed" / "journal.jsonl"


# ---------------------------------------------------------------- versions


async def test_a_newer_file_is_refused_with_a_clear_word_and_left_alone(folder: Path) -> None:
    path = await filled(folder)
    newer = path.read_bytes().replace(b'"version":1', b'"version":2', 1)
    path.write_bytes(newer)
    async with JsonlStore(folder) as store:
        for look in (store.read(KEY), store.history(KEY), store.export(KEY)):
            with pytest.raises(NewerFormat, match="format 2, this version of the gateway reads up to 1"):
                await look
        await store.append(key_of("bob"), [said(1)], head=head_of(key_of("bob")))
    assert path.read_bytes() == newer


async def test_a_newer_file_is_refused_without_an_index_too(folder: Path) -> None:
    path = await filled(folder)
    path.write_bytes(path.read_bytes().replace(b'"version":1', b'"version":2', 1))
    (folder / "index.sqlite").unlink()
    async with JsonlStore(folder) as store:
        with pytest.raises(NewerFormat):
            await store.state(KEY)
        with pytest.raises(NewerFormat):
            store.append(KEY, [said(1)], head=head_of(KEY))


async def test_a_newer_journal_stops_the_start(folder: Path, tmp_path: Path) -> None:
    journal = await killed(folder, tmp_path)
    journal.write_bytes(journal.read_bytes().replace(b'"version":1', b'"version":7', 1))
    with pytest.raises(JournalRefused, match="format 7"):
        async with JsonlStore(journal.parent):
            pass
    journal.write_bytes(journal.read_bytes().replace(b'"version":7', b'"version":1', 1))
    async with JsonlStore(journal.parent) as store:  # and the lock was given back
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]


# ---------------------------------------------------------------- the index


@pytest.mark.attack(72)
@pytest.mark.parametrize("damage", ["missing", "garbage", "empty", "older schema", "newer schema", "truncated"])
async def test_the_index_is_made_again_from_the_files(
    folder: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with JsonlStore(folder) as store:
        for user in ("alice", "bob"):
            key = key_of(user)
            record = said(1, user=user, idempotency_key="k", received_at=4e9)
            await store.append(key, [record], head=head_of(key, owner=user, title=user.title()))
    index = folder / "index.sqlite"
    _damage(index, damage)
    async with JsonlStore(folder) as store:
        assert len((await store.list_sessions(None, limit=9))[0]) == 2
        assert (await store.state(KEY)).open_turns == ("m1",)
        assert set(await store.open_turns()) == {key_of("alice"), key_of("bob")}
        assert (await store.duplicate("bob", "k")) is not None
    assert len(warnings_about(caplog, "made again from 2 files")) == 1


def _damage(index: Path, damage: str) -> None:
    match damage:
        case "missing":
            index.unlink()
        case "garbage":
            index.write_bytes(b"garbage" * 1000)
        case "empty":
            index.write_bytes(b"")
        case "truncated":
            index.write_bytes(index.read_bytes()[:5000])
        case schema:
            connection = sqlite3.connect(index)
            connection.execute(f"PRAGMA user_version = {0 if schema == 'older schema' else 99}")
            connection.close()


@pytest.mark.attack(72)
async def test_an_index_lost_together_with_the_process_costs_nothing(folder: Path, tmp_path: Path) -> None:
    journal = await killed(folder, tmp_path)
    (journal.parent / "index.sqlite").unlink()
    async with JsonlStore(journal.parent) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
        assert (await store.state(KEY)).head.message_count == 6


async def test_a_file_that_was_put_in_place_by_hand_is_found(folder: Path, tmp_path: Path) -> None:
    path = await filled(tmp_path / "other")
    async with JsonlStore(folder) as store:
        target = file_of(folder, KEY)
        target.parent.mkdir(parents=True)
        target.write_bytes(path.read_bytes())
        assert (await store.state(KEY)).last_seq == 6
        assert len((await store.history(KEY))[0]) == 6
        await store.append(KEY, [said(7)])
        assert await seqs(store) == [1, 2, 3, 4, 5, 6, 7]


# ---------------------------------------------------------------- 30, 31: keys


HOSTILE = ["../../x", "/etc/passwd", "..\\..\\x", "%2e%2e/x", "k" * 512, "键" * 512, "CON", "NUL.jsonl", "x.", "x ",
           "-rf", "~", "$HOME", "a:b", "a_b", "a/b", "Key", "key", "KEY", "é", "e\u0301", "ﬁ", "fi", "ı", "i", "K",
           "\u212a", "k" * 255, "k" * 256,
           "agent:main:websocket:direct:Bob", "agent:main:websocket:direct:bob"]  # fmt: skip


@pytest.mark.attack(30)
@pytest.mark.attack(31)
async def test_no_two_keys_share_a_file_and_none_leaves_the_folder(folder: Path) -> None:
    keys = [SessionKey(text, scope) for text in HOSTILE for scope in ("alice", "Alice", "")]
    assert len(set(keys)) == len(keys)
    async with JsonlStore(folder) as store:
        for number, key in enumerate(keys):
            await store.append(key, [said(1, f"text {number}")], head=head_of(key))
        for number, key in enumerate(keys):
            assert [record.data["text"] for record in await store.read(key)] == [f"text {number}"]
    files = [path for path in folder.parent.rglob("*") if path.is_file() and path.suffix == ".jsonl"]
    assert len(files) == len(keys) and len({path.name.lower() for path in files}) == len(keys)
    assert all(path.parent.parent == folder and len(path.name) < 64 for path in files)
    assert {path.name for path in folder.parent.iterdir()} == {"sessions"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in folder.rglob("*") if path.is_file())
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in (folder, *folder.glob("??")))


@pytest.mark.attack(31)
async def test_the_stored_key_is_checked_again(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = await filled(folder, key_of("bob"))
    mine = file_of(folder, KEY)
    mine.parent.mkdir(parents=True, exist_ok=True)
    mine.write_bytes(path.read_bytes())
    async with JsonlStore(folder) as store:
        assert await store.state(KEY) is None and await store.history(KEY) == ([], False)
        await store.append(KEY, [said(1, "mine")], head=head_of(KEY))
        assert await seqs(store) == [1]
    assert b"mine" in mine.read_bytes() and mine.with_name(mine.name + ".corrupt").read_bytes() == path.read_bytes()


# ---------------------------------------------------------------- 33: links


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "target").write_text("untouched\n")
    yield folder
    assert [path.name for path in folder.iterdir()] == ["target"]
    assert (folder / "target").read_text() == "untouched\n"


@pytest.mark.attack(33)
@pytest.mark.parametrize("place", ["file", "folder", "temporary", "corrupt", "dangling"])
async def test_a_planted_link_is_not_followed(folder: Path, outside: Path, place: str) -> None:
    path = file_of(folder, KEY)
    async with JsonlStore(folder) as store:
        match place:
            case "folder":
                path.parent.symlink_to(outside)
            case _:
                path.parent.mkdir(parents=True)
                names = {"temporary": path.with_suffix(".new"), "corrupt": path.with_name(path.name + ".corrupt")}
                target = outside / ("nothing" if place == "dangling" else "target")
                names.get(place, path).symlink_to(target)
        assert await store.history(KEY) == ([], False)
        await store.append(KEY, [said(1)], head=head_of(KEY))
        assert await seqs(store) == [1]
        if place in ("temporary", "corrupt"):
            with path.open("ab") as file:
                file.write(b"torn")
            store._writer.filing.files.close()
        await store.append(KEY, [said(2)])
        assert await seqs(store) == [1, 2]
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2]
    assert not path.is_symlink() and path.is_file()


@pytest.mark.attack(33)
@pytest.mark.parametrize("name", ["journal.jsonl", "journal.3.jsonl", "journal.new", "owner.pid"])
async def test_a_link_in_the_place_of_the_journal(folder: Path, outside: Path, name: str) -> None:
    await filled(folder)
    (folder / name).symlink_to(outside / "target")
    if name in ("journal.new", "owner.pid"):
        async with JsonlStore(folder) as store:
            assert await seqs(store) == [1, 2, 3, 4, 5, 6]
    else:
        with pytest.raises(JournalRefused, match=name):
            async with JsonlStore(folder):
                pass


@pytest.mark.attack(33)
async def test_a_link_in_the_place_of_the_index(folder: Path, outside: Path) -> None:
    await filled(folder)
    (folder / "index.sqlite").unlink()
    (folder / "index.sqlite").symlink_to(outside / "target")
    async with JsonlStore(folder) as store:
        assert await seqs(store) == [1, 2, 3, 4, 5, 6]
    assert not (folder / "index.sqlite").is_symlink()


# ---------------------------------------------------------------- 73, 75


@pytest.mark.attack(73)
async def test_the_folder_belongs_to_one_store(folder: Path) -> None:
    async with JsonlStore(folder):
        with pytest.raises(FolderInUse, match=f"process {os.getpid()}") as refused:
            async with JsonlStore(folder):
                pass
        assert refused.value.pid == os.getpid()
    async with JsonlStore(folder):
        pass


@pytest.mark.attack(75)
async def test_order_is_by_number_whatever_the_clock_says(folder: Path) -> None:
    late, early = key_of("late"), key_of("early")
    async with JsonlStore(folder) as store:
        future = said(1)
        future.timestamp = "2036-01-01T00:00:00.000Z"
        past = answered(2, "m1")
        past.timestamp = "1999-01-01T00:00:00.000Z"
        await store.append(late, [future], head=head_of(late))
        await store.append(early, [said(1)], head=head_of(early))
        await store.append(late, [past])
        assert await seqs(store, late) == [1, 2]
        assert [m["seq"] for m in (await store.history(late))[0]] == [1, 2]
        assert [h.key for h in (await store.list_sessions("alice", limit=9))[0]] == [late, early]
    async with JsonlStore(folder) as store:
        assert [h.key for h in (await store.list_sessions("alice", limit=9))[0]] == [late, early]
        await store.append(early, [answered(2, "m1")])
        assert [h.key for h in (await store.list_sessions("alice", limit=9))[0]] == [early, late]

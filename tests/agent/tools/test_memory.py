"""Memories: kept, found again, forgotten, and never another person's."""

import asyncio
import os
import stat
from pathlib import Path

import orjson
import pytest

from agent.tools.builtin.memory import MemoryTool
from agent.tools.builtin.memory_book import Full, MemoryBook
from tests.agent.tools.helpers import BOB, text, use


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


async def test_the_tool(folder: Path) -> None:
    tool = MemoryTool(MemoryBook(folder))
    kept = (await use(tool, action="remember", text="Likes  green\ntea")).structured_content["remembered"]
    assert kept["text"] == "Likes green tea"
    await use(tool, action="remember", text="喜欢喝绿茶，不喜欢咖啡")
    await use(tool, action="remember", text="Works as a surveyor in Oslo")
    found = (await use(tool, action="recall", query="what tea?")).structured_content["memories"]
    assert [each["text"] for each in found] == ["Likes green tea"]
    assert (
        (await use(tool, action="recall", query="她喜欢什么茶"))
        .structured_content["memories"][0]["text"]
        .startswith("喜欢")
    )
    assert await use(tool, action="recall", query="surveyors")
    assert (await use(tool, action="list")).structured_content["count"] == 3
    assert not (await use(tool, action="forget", id=kept["id"])).is_error
    assert (await use(tool, action="list")).structured_content["count"] == 2
    assert (await use(tool, action="forget", id=kept["id"])).is_error


async def test_what_is_missing_is_said(folder: Path) -> None:
    tool = MemoryTool(MemoryBook(folder))
    for arguments in ({"action": "remember"}, {"action": "recall"}, {"action": "forget"}, {"action": "steal"}, {}):
        assert (await use(tool, **arguments)).is_error
    assert "“text”" in text(await use(tool, action="remember", text="  "))
    assert not folder.exists()


async def test_nothing_crosses_between_people(folder: Path) -> None:
    tool = MemoryTool(MemoryBook(folder))
    kept = (await use(tool, action="remember", text="secret of Alice")).structured_content["remembered"]
    assert (await use(tool, BOB, action="list")).structured_content["memories"] == []
    assert (await use(tool, BOB, action="recall", query="secret")).structured_content["memories"] == []
    assert (await use(tool, BOB, action="forget", id=kept["id"])).is_error
    assert (await use(tool, action="list")).structured_content["count"] == 1
    book = MemoryBook(folder)
    names = ["a", "A", "../a", "a/b", "x" * 64, "..", "a\x00"]
    for name in names:
        book.remember(name, f"of {name!r}")
    assert [[memory.text for memory in book.all(name)] for name in names] == [[f"of {name!r}"] for name in names]
    assert all(path.parent == folder for path in folder.rglob("*"))


def test_it_survives_a_restart_and_is_private_on_disk(folder: Path) -> None:
    MemoryBook(folder).remember("alice", "one")
    first = MemoryBook(folder)
    assert [memory.text for memory in first.all("alice")] == ["one"]
    (path,) = folder.iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert orjson.loads(path.read_bytes().split(b"\n")[0]) == {"version": 1, "user": "alice"}


def test_a_torn_line_loses_itself_only(folder: Path) -> None:
    MemoryBook(folder).remember("alice", "one")
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes() + b'garbage\n[]\n{"op":"remember","id":"x"')
    book = MemoryBook(folder)
    book.remember("alice", "two")
    assert [memory.text for memory in MemoryBook(folder).all("alice")] == ["one", "two"]


def test_bounds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = MemoryBook(folder)
    with pytest.raises(Full):
        book.remember("alice", "x" * 2001)
    monkeypatch.setattr("agent.tools.builtin.memory_book.MAX_MEMORIES", 3)
    for number in range(3):
        book.remember("alice", f"number {number}")
    assert book.remember("alice", "number 1").text == "number 1"
    with pytest.raises(Full):
        book.remember("alice", "one too many")
    monkeypatch.setattr("agent.tools.builtin.memory_book.KEPT_USERS", 2)
    for user in ("b", "c", "d"):
        book.remember(user, "x")
    assert len(book.all("alice")) == 3


def test_a_file_full_of_forgotten_things_is_rewritten(folder: Path) -> None:
    book = MemoryBook(folder)
    kept = book.remember("alice", "stays")
    for number in range(60):
        assert book.forget("alice", book.remember("alice", f"passing {number}").memory_id)
    (path,) = folder.iterdir()
    assert path.read_bytes().count(b"\n") < 70
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert MemoryBook(folder).all("alice") == [kept]
    assert book.forget_all("alice") == 1
    assert MemoryBook(folder).all("alice") == []
    assert list(folder.iterdir()) == []


async def test_many_at_once(folder: Path) -> None:
    book = MemoryBook(folder)
    await asyncio.gather(*(asyncio.to_thread(book.remember, "alice", f"fact {n}") for n in range(40)))
    assert len(MemoryBook(folder).all("alice")) == 40


@pytest.mark.attack(71)
def test_a_full_disk_keeps_nothing_and_spoils_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    book = MemoryBook(folder)
    book.remember("alice", "before")
    real = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda handle, data: real(handle, data[: len(data) // 2]))
        with pytest.raises(OSError, match="full"):
            book.remember("alice", "while it is full")
    assert [memory.text for memory in book.all("alice")] == ["before"]
    book.remember("alice", "after")
    assert [memory.text for memory in MemoryBook(folder).all("alice")] == ["before", "after"]

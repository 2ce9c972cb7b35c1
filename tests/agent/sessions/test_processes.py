"""Processes of their own: killed under load, two on one folder, and one whose files may not grow."""

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.sessions.jsonl_store import JsonlStore
from tests.fakes.session_records import key_of
from tests.fakes.session_writer import USERS


@contextmanager
def writer(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[bytes]"]:
    command = [sys.executable, "-m", "tests.fakes.session_writer", str(folder), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: "subprocess.Popen[bytes]") -> list[str]:
    """What is still to be read, whole lines only."""
    output, _ = process.communicate(timeout=60)
    return [line.decode() for line in output.split(b"\n")[:-1]]


def first_line(process: "subprocess.Popen[bytes]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().decode().strip()


async def check(folder: Path, told: dict[str, int]) -> None:
    """Everything acknowledged is there once, in order; and what is there is whole."""
    async with JsonlStore(folder) as store:
        for user in (f"user{n}" for n in range(USERS)):
            records = await store.read(key_of(user))
            assert [record.seq for record in records] == list(range(1, len(records) + 1))
            assert [record.data["text"] for record in records] == [f"{user} {seq + 1}" for seq in range(len(records))]
            assert len(records) >= told.get(user, 0), "acknowledged and lost"
            if records:
                state = await store.state(key_of(user))
                assert state is not None and state.last_seq == len(records)
                assert await store.duplicate(user, f"{user} 1") is not None


def note(lines: list[str], told: dict[str, int]) -> None:
    for line in lines:
        if line.startswith("ack "):
            _, user, seq = line.split()
            told[user] = max(told.get(user, 0), int(seq))


async def kill_again_and_again(folder: Path, times: int, seed: int) -> dict[str, int]:
    chance, told = random.Random(seed), dict[str, int]()
    for number in range(times):
        with writer(folder, "load") as process:
            assert first_line(process) == "open"
            time.sleep(chance.random() * 0.08)
            process.kill()
            note(lines_of(process), told)
        if number % 4 == 3:
            await check(folder, told)
    await check(folder, told)
    return told


@pytest.mark.attack(69)
async def test_killed_under_load_a_dozen_times(tmp_path: Path) -> None:
    told = await kill_again_and_again(tmp_path / "sessions", 12, seed=1)
    assert sum(told.values()) > 200


@pytest.mark.slow
@pytest.mark.attack(69)
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("seed", range(4))
async def test_killed_under_load_hundreds_of_times(tmp_path: Path, seed: int) -> None:
    await kill_again_and_again(tmp_path / "sessions", 100, seed=seed + 10)


@pytest.mark.attack(73)
def test_a_second_process_is_refused_with_the_pid_of_the_first_until_that_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "sessions"
    with writer(folder, "hold") as first:
        assert first_line(first) == "open"
        with writer(folder, "hold") as second:
            assert first_line(second) == f"in use {first.pid}"
            assert second.wait(10) == 1
        first.kill()
        first.wait(10)
        with writer(folder, "hold") as third:
            assert first_line(third) == "open"


@pytest.mark.attack(71)
@pytest.mark.parametrize("limit", [20_001, 41_007, 150_000])
async def test_files_that_may_not_grow(tmp_path: Path, limit: int) -> None:
    """`RLIMIT_FSIZE`: short writes, as on a full disk, and not only in the journal."""
    folder, told = tmp_path / "sessions", dict[str, int]()
    with writer(folder, "limited", str(limit)) as process:
        lines = lines_of(process)
    assert lines[-1] == "end" and any(line.startswith("refused") for line in lines)
    note(lines, told)
    after = lines[lines.index("space again") :]
    assert sum(line.startswith("ack") for line in after) == USERS * 3 * 2, "works again once there is space"
    await check(folder, told)

"""An audit log that was divided: bounded, read as one, and nothing of it can be taken away unseen."""

import contextlib
import json
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bridge.audit import AuditFailed, AuditLog, audit_files, tail, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def opened(path: Path, kept: int = 3) -> AuditLog:
    return AuditLog(path, fsync=False, part_bytes=2000, kept_parts=kept)


def written(path: Path, count: int, kept: int = 3) -> list[Path]:
    log = opened(path, kept)
    for number in range(count):
        log.append("tool.call", number=number)
    log.close()
    return audit_files(path)


def numbers(path: Path) -> list[int]:
    return [record["number"] for record in tail(path, 10_000) if record["event"] == "tool.call"]


def test_it_is_divided_and_read_as_one(path: Path):
    files = written(path, 40)
    assert len(files) == 4 and files[-1] == path
    assert all(each.stat().st_size < 2500 and stat.S_IMODE(each.stat().st_mode) == 0o600 for each in files)
    verdict = verify(path)
    assert verdict.ok and verdict.records == 43, verdict
    assert numbers(path) == list(range(40))
    assert [record["seq"] for record in tail(path, 20)] == list(range(24, 44))
    first = json.loads(path.read_bytes().splitlines()[0])
    assert first["event"] == "audit.rotated" and first["first_seq"] == 1


def test_the_oldest_go_and_the_chain_is_proved_from_where_it_now_begins(path: Path):
    files = written(path, 300)
    assert len(files) == 4
    assert sum(each.stat().st_size for each in files) < 10_000
    verdict = verify(path)
    assert verdict.ok and 30 < verdict.records < 60
    found = numbers(path)
    assert found[-1] == 299 and found == list(range(found[0], 300)) and found[0] > 200


def test_it_goes_on_after_reopening(path: Path):
    written(path, 33)
    written(path, 33)
    assert verify(path).ok and numbers(path)[-33:] == list(range(33))


@pytest.mark.attack(74)
@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_part_that_was_taken_away_is_named(path: Path, which: int):
    files = written(path, 300)
    files[which].unlink()
    verdict = verify(path)
    assert not verdict.ok and verdict.reason
    if which < 3:
        assert verdict.path == files[which + 1] and verdict.line == 1


@pytest.mark.attack(74)
@pytest.mark.parametrize("which", [0, 1, 2, 3])
def test_a_changed_record_is_named_with_its_file(path: Path, which: int):
    files = written(path, 303)
    lines = files[which].read_bytes().splitlines(keepends=True)
    lines[2] = lines[2].replace(b"tool.call", b"tool.cell")
    files[which].write_bytes(b"".join(lines))
    verdict = verify(path)
    assert not verdict.ok and (verdict.path, verdict.line) == (files[which], 3)


@pytest.mark.attack(74)
def test_records_cut_off_the_beginning_of_the_oldest_are_named(path: Path):
    files = written(path, 300)
    files[0].write_bytes(b"".join(files[0].read_bytes().splitlines(keepends=True)[2:]))
    verdict = verify(path)
    assert not verdict.ok and (verdict.path, verdict.line) == (files[0], 1)


@pytest.mark.attack(74)
def test_a_part_that_was_taken_away_is_not_forgotten_when_the_log_goes_on(path: Path):
    written(path, 30)[0].unlink()
    assert not verify(path).ok
    files = written(path, 15)
    assert len(files) == 3 and not verify(path).ok


@pytest.mark.attack(74)
def test_a_last_file_that_was_emptied_stays_visible(path: Path):
    written(path, 40)
    path.write_bytes(b"")
    assert "missing at the end" in verify(path).reason
    written(path, 3)
    assert not verify(path).ok


def test_a_crash_between_the_old_file_and_the_new_one_loses_nothing(path: Path):
    written(path, 14)
    path.rename(path.with_name("audit.000000000014.jsonl"))
    assert verify(path).ok and numbers(path) == list(range(14))
    written(path, 3)
    assert verify(path).ok and numbers(path) == [*range(14), 0, 1, 2]
    assert json.loads(path.read_bytes().splitlines()[0])["event"] == "audit.rotated"


def test_a_full_directory_fails_closed_and_is_got_over(path: Path, tmp_path: Path):
    log = opened(path)
    for number in range(14):
        log.append("tool.call", number=number)
    path.rename(path.with_name("audit.000000000014.jsonl"))
    path.mkdir()  # nothing can be opened under the name
    with pytest.raises(AuditFailed):
        log.append("tool.call", number=14)
    path.rmdir()
    log.append("tool.call", number=15)
    log.close()
    assert verify(path).ok and numbers(path) == [*range(14), 15]


def test_threads_and_processes_divide_one_chain(path: Path):
    program = (
        "import sys; from pathlib import Path; from bridge.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), fsync=False, part_bytes=2000, kept_parts=1000)\n"
        "for n in range(100): log.append('other', number=n)\n"
        "log.close()\n"
    )
    logs = [opened(path, 1000), opened(path, 1000)]
    logs[0].append("first")

    def write(log: AuditLog) -> None:
        for number in range(100):
            log.append("mine", number=number)

    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as other:
        threads = [threading.Thread(target=write, args=(log,)) for log in logs]
        for thread in threads:
            thread.start()
        while other.poll() is None:
            verdict = verify(path)  # read while it is divided
            assert verdict.ok, verdict
        for thread in threads:
            thread.join()
        assert other.wait() == 0
    for log in logs:
        log.close()
    verdict = verify(path)
    assert verdict.ok and verdict.records - 301 == len(audit_files(path)) - 1
    found = [record["number"] for record in tail(path, 10_000) if record["event"] == "other"]
    assert found == list(range(100))


def test_it_is_read_while_the_oldest_go(path: Path):
    log = opened(path, 2)
    log.append("first")
    ended = threading.Event()

    def write() -> None:
        for number in range(2000):
            log.append("tool.call", number=number)
        ended.set()

    thread = threading.Thread(target=write)
    thread.start()
    with contextlib.closing(log):
        while not ended.is_set():
            found = numbers(path)
            assert not found or found == list(range(found[0], found[-1] + 1))
            assert verify(path).ok
        thread.join()

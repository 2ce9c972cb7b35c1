"""The audit log: nothing can be changed, removed or moved without being named."""

import asyncio
import fcntl
import json
import re
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from bridge.audit import GENESIS, AuditFailed, AuditLog, head_path, shape, tail, verify


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "audit.jsonl"


def written(path: Path, count: int = 5) -> list[bytes]:
    log = AuditLog(path, fsync=False)
    for number in range(count):
        log.append("tool.call", tool="fs_read", number=number)
    log.close()
    return path.read_bytes().splitlines(keepends=True)


def test_records_are_chained_numbered_and_private(path: Path):
    lines = written(path)
    records = [json.loads(line) for line in lines]
    assert [record["seq"] for record in records] == [1, 2, 3, 4, 5]
    assert records[0]["previous"] == GENESIS and len({record["previous"] for record in records}) == 5
    assert records[0]["event"] == "tool.call" and records[0]["timestamp"].endswith("Z")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(head_path(path).stat().st_mode) == 0o600
    assert verify(path).ok and verify(path).records == 5


def test_it_goes_on_after_reopening(path: Path):
    written(path)
    written(path, 3)
    verdict = verify(path)
    assert verdict.ok and verdict.records == 8


def test_nothing_and_an_empty_log_are_fine(path: Path):
    assert verify(path).ok
    AuditLog(path).close()
    assert verify(path).ok and tail(path) == []


@pytest.mark.attack(74)
@pytest.mark.parametrize(
    ("name", "line"),
    [("edit", 3), ("edit the one before the last", 4), ("edit last", 5), ("edit its hash", 3), ("delete", 3),
     ("delete first", 1), ("swap", 2), ("repeat", 4), ("insert", 3), ("garbage", 3), ("truncate", 4), ("empty", 1),
     ("remove", 1)],
)  # fmt: skip
def test_tampering_is_named_by_its_first_bad_record(path: Path, name: str, line: int):
    lines = written(path)
    match name:
        case "edit":
            lines[2] = lines[2].replace(b"fs_read", b"fs_rxad")
        case "edit the one before the last":
            lines[3] = lines[3].replace(b"fs_read", b"fs_rxad")
        case "edit its hash":
            lines[2] = re.sub(rb'"previous":\s*"[0-9a-f]{8}', lambda found: found[0][:-8] + b"0" * 8, lines[2])
        case "edit last":
            lines[4] = lines[4].replace(b"fs_read", b"fs_rxad")
        case "delete":
            del lines[2]
        case "delete first":
            del lines[0]
        case "swap":
            lines[1], lines[2] = lines[2], lines[1]
        case "repeat":
            lines.insert(3, lines[2])
        case "insert":
            lines.insert(2, b'{"seq":3,"event":"x","previous":"' + b"ab" * 32 + b'"}\n')
        case "garbage":
            lines[2] = b"not json\n"
        case "truncate":
            del lines[3:]
        case "empty":
            lines = []
    path.write_bytes(b"".join(lines))
    if name == "remove":
        path.unlink()
    verdict = verify(path)
    assert not verdict.ok and verdict.line == line and verdict.reason


@pytest.mark.attack(74)
def test_a_cut_tail_stays_visible_when_the_log_goes_on(path: Path):
    lines = written(path)
    path.write_bytes(b"".join(lines[:3]))
    written(path, 4)
    verdict = verify(path)
    assert not verdict.ok and verdict.line == 4 and "records 4 to 5" in verdict.reason


@pytest.mark.attack(74)
def test_a_changed_last_record_stays_visible_when_the_log_goes_on(path: Path):
    lines = written(path)
    lines[4] = lines[4].replace(b"fs_read", b"fs_rxad")
    path.write_bytes(b"".join(lines))
    written(path, 2)
    assert not verify(path).ok


@pytest.mark.attack(74)
def test_without_its_head_the_end_cannot_be_proved(path: Path):
    written(path)
    head_path(path).unlink()
    assert "missing" in verify(path).reason
    written(path, 1)
    assert not verify(path).ok


@pytest.mark.attack(74)
def test_rewriting_the_whole_chain_is_found_by_the_head(path: Path):
    written(path)
    kept = head_path(path).read_bytes()
    path.unlink()
    head_path(path).unlink()
    log = AuditLog(path, fsync=False)
    for number in range(9):
        log.append("tool.call", tool="fs_harmless", number=number)
    log.close()
    head_path(path).write_bytes(kept)
    verdict = verify(path)
    assert not verdict.ok and verdict.line == 5


def test_a_torn_tail_is_cut_and_kept_aside(path: Path):
    lines = written(path)
    path.write_bytes(b"".join(lines) + b'{"seq":6,"eve')
    assert verify(path).ok, "a crash in the middle of a record is no tampering"
    written(path, 1)
    assert verify(path).ok and verify(path).records == 6
    assert path.with_suffix(".torn").read_bytes() == b'{"seq":6,"eve\n'


def test_a_head_that_is_behind_after_a_crash_is_fine(path: Path):
    written(path, 4)
    kept = head_path(path).read_bytes()
    written(path, 2)
    head_path(path).write_bytes(kept)
    assert verify(path).ok
    written(path, 1)
    assert verify(path).ok and verify(path).records == 7


def test_threads_and_processes_write_one_chain(path: Path):
    program = (
        "import sys; from pathlib import Path; from bridge.audit import AuditLog\n"
        "log = AuditLog(Path(sys.argv[1]), fsync=False)\n"
        "for n in range(40): log.append('other', number=n)\n"
        "log.close()\n"
    )
    log = AuditLog(path, fsync=False)
    with subprocess.Popen([sys.executable, "-c", program, str(path)]) as other:
        threads = [threading.Thread(target=lambda: [log.append("mine", number=n) for n in range(40)]) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert other.wait() == 0
    log.append("last")
    log.close()
    verdict = verify(path)
    assert verdict.ok and verdict.records == 161


@pytest.mark.parametrize("locks", [True, False])
def test_two_writers_of_one_process_write_one_chain(path: Path, monkeypatch: pytest.MonkeyPatch, locks: bool):
    """Also where the system has no locks on files, as Windows."""
    if not locks:
        monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    writers = [AuditLog(path, fsync=False), AuditLog(path.parent / "." / path.name, fsync=False)]

    def write(log: AuditLog) -> None:
        for number in range(300):
            log.append("tool.intent", number=number)

    threads = [threading.Thread(target=write, args=(log,)) for log in writers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for log in writers:
        log.close()
    verdict = verify(path)
    assert verdict.ok and verdict.records == 600


async def test_records_from_many_tasks(path: Path):
    log = AuditLog(path)
    await asyncio.gather(*(log.intent({"event": "x", "number": number}) for number in range(20)))
    log.close()
    assert verify(path).records == 20
    with pytest.raises(AuditFailed):
        await log.intent({"event": "too late"})
    assert [record["event"] for record in await log.tail(2)] == ["x", "x"]


@pytest.mark.attack(72)
def test_a_note_that_cannot_be_written_is_logged_and_an_intent_fails_closed(path: Path, caplog):
    log = AuditLog(path)
    log.note({"event": "done", "tool": "x"})
    log.record("token.create", user="a")
    log.close()
    log.record("late", user="a")
    assert "did not take a record" in caplog.text
    assert verify(path).records == 2
    with pytest.raises(OSError):
        asyncio.run(log.intent({"event": "dangerous"}))


@pytest.mark.attack(72)
def test_a_full_disk_leaves_no_half_record_and_the_next_one_is_whole(path: Path):
    log = AuditLog(path)
    log.append("before")
    size = path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, hard))
    try:
        with pytest.raises(AuditFailed):
            log.append("during", text="x" * 200)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.stat().st_size == size
    log.append("after")
    log.close()
    assert verify(path).ok and [record["event"] for record in tail(path)] == ["before", "after"]


def test_what_cannot_be_recorded_is_refused(path: Path):
    log = AuditLog(path, fsync=False)
    with pytest.raises(AuditFailed):
        log.append("x", value=object())
    with pytest.raises(AuditFailed):
        log.append("x", value="y" * 2_000_000)
    log.append("x", seq=99, previous="forged", text="a\nb")
    log.close()
    assert verify(path).ok and verify(path).records == 1


def test_a_link_is_not_followed(path: Path, tmp_path: Path):
    (tmp_path / "elsewhere").write_text("")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditFailed):
        AuditLog(path)


def test_tail_reads_only_the_end(path: Path):
    written(path, 300)
    assert [record["seq"] for record in tail(path, 3)] == [298, 299, 300]
    assert len(tail(path, 1000)) == 300 and tail(path, 0) == []
    with path.open("ab") as file:
        file.write(b"torn")
    assert [record["seq"] for record in tail(path, 2)] == [299, 300]


@pytest.mark.attack(84)
def test_what_is_kept_of_arguments_is_their_shape():
    value = shape({"path": "/home/me/sk-canary", "n": 1, "list": [1, 2], "deep": {"a": {"b": {"c": 1}}}, "no": None})
    assert value == {
        "path": "text(18)", "n": "int", "list": "list(2)", "deep": {"a": {"b": "dict(1)"}}, "no": "null",
    }  # fmt: skip
    assert shape(["sk-canary"]) == "list(1)"

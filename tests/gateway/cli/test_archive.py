"""Backups that were damaged, media that know no links, and a move that fails half-way."""

import errno
import gzip
import io
import os
import random
import stat
import tarfile
import threading
from pathlib import Path
from typing import cast

import pytest

from bridge.audit import AuditLog, audit_files, verify
from gateway.cli.archive import NotABackup, read_archive, write_archive
from gateway.cli.backup import backup
from gateway.cli.running import Running
from gateway.handlers.backup import BackupMethods
from gateway.handlers.call import Call, Nothing


@pytest.fixture
def state(tmp_path: Path) -> Path:
    home = tmp_path / "state"
    (home / "media").mkdir(parents=True)
    (home / "identity.json").write_text("{}")
    (home / "media" / "picture").write_bytes(random.Random(1).randbytes(20_000))
    return home


def test_a_damaged_backup_is_not_restored(state: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tgz"
    assert write_archive(file, state, None) == 2
    whole = file.read_bytes()
    number = random.Random(2)
    for _ in range(100):
        at = number.randrange(12, len(whole) - 8)  # what stands before is the time, and the name of a system
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])
        with pytest.raises(NotABackup):
            read_archive(file, tmp_path / "home")
        assert not (tmp_path / "home").exists()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NotABackup):
        read_archive(file, tmp_path / "home")
    file.write_bytes(whole)
    assert read_archive(file, tmp_path / "home") is None
    assert (tmp_path / "home" / "media" / "picture").read_bytes() == (state / "media" / "picture").read_bytes()


def test_an_audit_log_that_is_divided_meanwhile_is_whole_in_a_backup(state: Path, tmp_path: Path) -> None:
    log = AuditLog(state / "audit.jsonl", fsync=False, part_bytes=20_000, kept_parts=3)
    log.append("first")
    ended = threading.Event()

    def write() -> None:
        while not ended.is_set():
            log.append("something", text="x" * 1000)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(20):
            file, home = tmp_path / f"{number}.tgz", tmp_path / f"home-{number}"
            write_archive(file, state, None)
            assert read_archive(file, home) is None
            verdict = verify(home / "audit.jsonl")
            assert verdict.ok and verdict.records, verdict
    finally:
        ended.set()
        thread.join()
        log.close()
    assert len(audit_files(home / "audit.jsonl")) > 1
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in audit_files(home / "audit.jsonl"))


@pytest.mark.parametrize("manifest", [b"[]", b'{"format": "x"}', b"{"])
def test_a_manifest_that_is_none(manifest: bytes, tmp_path: Path) -> None:
    with gzip.open(tmp_path / "b.tgz", "wb") as plain, tarfile.open(fileobj=plain, mode="w:") as archive:
        info = tarfile.TarInfo("busgate-backup.json")
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))
    with pytest.raises(NotABackup):
        read_archive(tmp_path / "b.tgz", tmp_path / "home")


def test_a_medium_without_links_takes_a_backup(state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    file = tmp_path / "b.tgz"
    assert write_archive(file, state, None) == 2
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("b.tgz*")] == ["b.tgz"]
    assert read_archive(file, tmp_path / "home") is None


def test_nobody_reads_along_in_the_file_that_is_being_written(state: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.touch(0o666)
    (tmp_path / f"b.tgz.{os.getpid()}.part").symlink_to(other)
    (tmp_path / "b.tgz.part").symlink_to(other)
    write_archive(tmp_path / "b.tgz", state, None)
    assert other.read_bytes() == b""


def test_the_state_from_before_comes_back_where_the_move_fails(
    state: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "b.tgz", state, None)
    rename = Path.rename

    def refused(self: Path, target: Path) -> Path:
        if ".restoring-" in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="Input/output"):
        read_archive(tmp_path / "b.tgz", state)
    assert (state / "identity.json").read_text() == "{}"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tgz", "state"]


async def test_folders_of_people_are_not_swept(tmp_path: Path) -> None:
    left, own = tmp_path / "backup-0123456789ab", tmp_path / "backup-november"
    for folder in (left, own):
        folder.mkdir()
        (folder / "b.tgz").touch()
        os.utime(folder, (0, 0))

    class Store:
        async def backup(self, destination: Path) -> int:
            destination.mkdir()
            return 0

    made = await BackupMethods(store=Store(), home=tmp_path, audit=None).sessions(cast(Call, None), Nothing())
    assert not left.exists()
    assert (own / "b.tgz").exists()
    assert Path(str(made["folder"])).is_dir()


def test_a_copy_of_many_sessions_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []

    def http(_url: str, *, seconds: float, **_: object) -> tuple[int, object]:
        waited.append(seconds)
        return 200, {"result": {"folder": str(tmp_path / "backup-0123456789ab" / "sessions"), "sessions": 0}}

    monkeypatch.setenv("GATEWAY_HOME", str(tmp_path))
    monkeypatch.setattr("gateway.cli.office.find_running", lambda _home: Running(1, "http://127.0.0.1:1"))
    monkeypatch.setattr("gateway.cli.office.admin_token", lambda _home: "token")
    monkeypatch.setattr("gateway.cli.office.http", http)
    backup(tmp_path / "b.tgz")
    assert waited == [3600.0]


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home that is a mount point, as a container's volume: it can't be renamed, nor can anything take its name."""
    home, rename, rmdir = tmp_path / "volume", Path.rename, Path.rmdir
    (home / "sessions").mkdir(parents=True)
    (home / "config.yaml").write_text("former: 1")
    (home / "sessions" / "journal.jsonl").write_text("former")

    def busy(self: Path, target: Path) -> Path:
        if home in (self, Path(target)):
            raise OSError(errno.EBUSY, "Device or resource busy")
        return rename(self, target)

    def stays(self: Path) -> None:
        if self == home:
            raise OSError(errno.EBUSY, "Device or resource busy")
        rmdir(self)

    monkeypatch.setattr(Path, "rename", busy)
    monkeypatch.setattr(Path, "rmdir", stays)
    return home


def _texts(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_home_that_is_a_mount_point_is_restored_within(state: Path, mounted: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tgz"
    write_archive(file, state, None)
    aside = read_archive(file, mounted)
    assert aside is not None and aside.parent == mounted
    assert _texts(aside) == {"config.yaml": b"former: 1", "sessions/journal.jsonl": b"former"}
    found = _texts(mounted)
    assert {name: text for name, text in found.items() if not name.startswith("before-")} == _texts(state)
    assert [path.name for path in tmp_path.glob("*restoring*")] == [path.name for path in mounted.glob("*restoring*")]
    again = tmp_path / "again.tgz"
    assert write_archive(again, mounted, None) == 2  # the state from before is in no later backup


def test_an_empty_mount_point_takes_a_backup(state: Path, mounted: Path, tmp_path: Path) -> None:
    write_archive(tmp_path / "b.tgz", state, None)
    for path in (mounted / "sessions" / "journal.jsonl", mounted / "config.yaml"):
        path.unlink()
    (mounted / "sessions").rmdir()
    assert read_archive(tmp_path / "b.tgz", mounted) is None
    assert _texts(mounted) == _texts(state)


def test_within_a_mount_point_all_goes_back_where_one_entry_cannot_be_moved(
    state: Path, mounted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "b.tgz", state, None)
    before, rename = _texts(mounted), Path.rename

    def refused(self: Path, target: Path) -> Path:
        if self.name == "media":
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(OSError, match="Input/output"):
        read_archive(tmp_path / "b.tgz", mounted)
    assert _texts(mounted) == before
    assert {path.name for path in mounted.iterdir()} == {"config.yaml", "sessions"}


def test_an_earlier_backup_in_the_home_is_in_no_later_one_whatever_its_name(state: Path) -> None:
    assert write_archive(state / "monday", state, None) == 2
    (state / "kept").mkdir()
    assert write_archive(state / "kept" / "tuesday.bin", state, None) == 2
    with gzip.open(state / "notes.gz", "wb") as other:  # somebody's own, and what a person sent, stay
        other.write(b"notes")
    (state / "media" / "sent").write_bytes((state / "monday").read_bytes())
    assert write_archive(state / "wednesday", state, None) == 4

"""Backups that were damaged, media that know no links, and a move that fails half-way."""

import errno
import gzip
import io
import os
import random
import stat
import tarfile
from pathlib import Path
from typing import cast

import pytest

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

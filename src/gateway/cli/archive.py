"""A state folder in one file and back: `backup` and `restore`, apart from how the sessions are copied.

What is left out: logs, locks, what only the running process means, and earlier backups.
The file holds the admin token and secrets, so it is mode 0600. Reading one, nothing but
plain files and folders below the target is made.
"""

import errno
import gzip
import io
import json
import os
import sqlite3
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from bridge.audit import head_path, is_part, open_files
from gateway import __version__

FORMAT = 1
MANIFEST = "busgate-backup.json"
LEFT_OUT = frozenset({"logs", "gateway.json", "chat_history", "sessions"})
AUDIT = "audit.jsonl"
LEFT_OUT_STARTS = ("backup-", "before-", "restoring-")
LEFT_OUT_ENDS = (".lock", ".torn", ".tmp", ".corrupt", ".sock", "-wal", "-shm", ".part")
_UNMOVABLE = frozenset({errno.EBUSY, errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS})


class NotABackup(Exception):
    """The file can't be restored; the message says why."""


def write_archive(target: Path, home: Path, sessions: Path | None) -> int:
    """Write `home`, and the copy of the sessions, into the new file `target`; how many files. Raises OSError.

    `target` appears only when it is whole.
    """
    if target.exists():
        raise FileExistsError(17, "exists already", str(target))
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)  # nobody else's file: secrets go into it
    count = 0
    try:
        with os.fdopen(descriptor, "wb") as file:
            with tarfile.open(fileobj=file, mode="w:gz") as archive:
                _manifest(archive)
                count += _audit(archive, home)
                for path in _state(home, part, target):
                    count += _add(archive, path, path.relative_to(home).as_posix())
                if sessions is not None:
                    for path in sorted(sessions.rglob("*")):
                        count += _add(archive, path, "sessions/" + path.relative_to(sessions).as_posix())
            file.flush()
            os.fsync(file.fileno())
        _appear(part, target)
    finally:
        part.unlink(missing_ok=True)
    return count


def _appear(part: Path, target: Path) -> None:
    """Give `part` its name, never over another file, whoever made it meanwhile."""
    try:
        os.link(part, target)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EACCES, errno.EMLINK):
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))  # a medium without links: FAT, a share
        part.replace(target)


def _manifest(archive: tarfile.TarFile) -> None:
    text = json.dumps({"format": FORMAT, "version": __version__, "made_at": int(time.time())}).encode()
    info = tarfile.TarInfo(MANIFEST)
    info.size, info.mode, info.mtime = len(text), 0o600, int(time.time())
    archive.addfile(info, io.BytesIO(text))


def _audit(archive: tarfile.TarFile, home: Path) -> int:
    """The audit log, which may be divided meanwhile. Its head first: that may be behind, never ahead."""
    count = _add(archive, head_path(home / AUDIT), head_path(home / AUDIT).name)
    with open_files(home / AUDIT) as files:
        for path, file in files:
            _entry(archive, path.name, _whole_lines(file.read()), os.fstat(file.fileno()))
    return count + len(files)


def _state(home: Path, *not_these: Path) -> Iterator[Path]:
    for path in sorted(home.rglob("*")):
        parts = path.relative_to(home).parts
        if path in (home / AUDIT, head_path(home / AUDIT)) or is_part(path, home / AUDIT):
            continue
        if parts[0] in LEFT_OUT or parts[0].startswith(LEFT_OUT_STARTS) or path.name.endswith(LEFT_OUT_ENDS):
            continue
        if path.is_symlink() or not path.is_file() or path.absolute() in [each.absolute() for each in not_these]:
            continue
        if parts[0] != "media" and _is_backup(path):  # whatever its name is; what people sent is theirs
            continue
        yield path


def _is_backup(path: Path) -> bool:
    """Whether it begins as `write_archive` begins a file."""
    try:
        with path.open("rb") as file:
            if file.read(2) != b"\x1f\x8b":
                return False
        with gzip.open(path) as plain:
            return plain.read(len(MANIFEST) + 1) == MANIFEST.encode() + b"\0"
    except (OSError, EOFError, zlib.error):
        return False


def _add(archive: tarfile.TarFile, path: Path, name: str) -> int:
    """One file as it is now, whole lines only: what is appended meanwhile belongs to the next backup."""
    if path.is_symlink() or not path.is_file():
        return 0
    try:
        state = path.stat()
        data = _database(path) if name.endswith((".db", ".sqlite")) else path.read_bytes()
    except FileNotFoundError:
        return 0
    if name.endswith(".jsonl"):
        data = _whole_lines(data)
    _entry(archive, name, data, state)
    return 1


def _whole_lines(data: bytes) -> bytes:
    return data[: data.rfind(b"\n") + 1]


def _entry(archive: tarfile.TarFile, name: str, data: bytes, state: os.stat_result) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), state.st_mode & 0o700, int(state.st_mtime)
    archive.addfile(info, io.BytesIO(data))


def _database(path: Path) -> bytes:
    """A copy of a database that somebody may be writing to."""
    source = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    copy = sqlite3.connect(":memory:")
    try:
        source.backup(copy)
        return copy.serialize()
    except sqlite3.Error as error:
        raise OSError(5, f"cannot be copied: {error}", str(path)) from None
    finally:
        copy.close()
        source.close()


def _nothing() -> None:
    return None


def read_archive(source: Path, home: Path, *, unpacked: Callable[[], None] = _nothing) -> Path | None:
    """Make `home` what the backup `source` holds; where the former state was moved to, if there was one.

    Everything is unpacked beside `home` first, then the two change places; where `home` can't be moved, as a
    container's volume, both happen within it. `unpacked` is called before anything moves, at most twice; what it
    raises ends it all. Raises NotABackup, OSError.
    """
    if not home.is_symlink():  # else the link would move, and the state from its disk to that of the link
        try:
            return _restore_beside(source, home, unpacked)
        except OSError as error:
            if not home.is_dir() or error.errno not in _UNMOVABLE:
                raise
    return _restore_within(source, home, unpacked)


def _restore_beside(source: Path, home: Path, unpacked: Callable[[], None]) -> Path | None:
    fresh = home.with_name(f"{home.name}.restoring-{os.getpid()}")
    fresh.mkdir(mode=0o700, parents=True)
    try:
        _unpack(source, fresh)
        unpacked()
        aside = None
        if home.exists() and any(home.iterdir()):
            aside = home.with_name(f"{home.name}.before-{time.strftime('%Y%m%d-%H%M%S')}")
            home.rename(aside)
        elif home.exists():
            home.rmdir()
        try:
            fresh.rename(home)
        except OSError:
            if aside is not None:
                aside.rename(home)
            raise
    except BaseException:  # Ctrl-C, too: a half-unpacked state must not stay behind
        _remove(fresh)
        raise
    return aside


def _restore_within(source: Path, home: Path, unpacked: Callable[[], None]) -> Path | None:
    """Entry by entry; where one can't be moved, all go back."""
    fresh = home / f"restoring-{os.getpid()}"
    aside = home / f"before-{time.strftime('%Y%m%d-%H%M%S')}"
    moved: list[tuple[Path, Path]] = []
    fresh.mkdir(mode=0o700)
    try:
        _unpack(source, fresh)
        unpacked()
        former = [path for path in home.iterdir() if not path.name.startswith((*LEFT_OUT_STARTS, "lost+found"))]
        aside.mkdir(mode=0o700)
        moves = [(path, aside / path.name) for path in former] + [(path, home / path.name) for path in fresh.iterdir()]
        for old, new in moves:
            old.rename(new)
            moved.append((old, new))
    except BaseException:  # Ctrl-C, too
        for old, new in reversed(moved):
            new.rename(old)
        if aside.is_dir() and not any(aside.iterdir()):
            aside.rmdir()
        _remove(fresh)
        raise
    fresh.rmdir()
    if former:
        return aside
    aside.rmdir()
    return None


def _unpack(source: Path, fresh: Path) -> None:
    try:
        with gzip.open(source) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST:
                raise NotABackup("this is not a backup of a gateway")
            stream = archive.extractfile(first)
            found = json.loads(stream.read()) if stream else {}
            if not isinstance(found, dict) or not isinstance(found.get("format", 0), int):
                raise NotABackup("this is not a backup of a gateway")
            if found.get("format", 0) > FORMAT:
                raise NotABackup(f"this backup was made by a newer version ({found.get('version')})")
            for member in archive:
                if not member.isfile() or member.name == MANIFEST:
                    continue
                _place(archive, member, fresh)
            while plain.read(1 << 20):
                pass  # the sum over it all stands at the very end
    except (tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError, ValueError, KeyError) as error:
        raise NotABackup(f"this backup is damaged: {error}") from None


def _place(archive: tarfile.TarFile, member: tarfile.TarInfo, fresh: Path) -> None:
    parts = member.name.split("/")
    if member.name.startswith("/") or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise NotABackup("this backup names files outside the state folder")
    target = fresh.joinpath(*parts)
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    stream = archive.extractfile(member)
    if stream is None:
        return
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, (member.mode & 0o700) | 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while block := stream.read(1 << 20):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    import shutil

    shutil.rmtree(folder, ignore_errors=True)

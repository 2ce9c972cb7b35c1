"""One running bridge per folder: a locked file with its pid. The lock goes with the process, however it ends."""

import os
import sys
from contextlib import suppress
from pathlib import Path


class AlreadyRunning(Exception):
    """Another bridge works with this folder. `pid` is None where it can't be told."""

    def __init__(self, pid: int | None) -> None:
        super().__init__(f"a bridge is running already{f' (pid {pid})' if pid else ''}")
        self.pid = pid


class PidFile:
    """Held while open. Raises AlreadyRunning, OSError."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "bridge.pid"
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        if not _lock(self._file):
            os.close(self._file)
            raise AlreadyRunning(running_pid(folder))
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0) if hasattr(os, "pwrite") else os.write(
            self._file, f"{os.getpid()}\n".encode()
        )

    def close(self) -> None:
        """Let go. The file stays, empty: removing it would race with the next bridge."""
        with suppress(OSError):
            os.ftruncate(self._file, 0)
        os.close(self._file)


def running_pid(folder: Path) -> int | None:
    """The pid of the bridge that works with this folder, or None."""
    path = folder / "bridge.pid"
    try:
        file = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        if _lock(file):
            return None
        text = path.read_text(encoding="ascii").strip()
        return int(text) if text.isdigit() else None
    except OSError:
        return None
    finally:
        os.close(file)


def _lock(file: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(file, 4096, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True

"""One process per folder: a lock that the system lets go when its holder dies.

`filelock` brings `flock` on POSIX and its like on Windows. The holder's pid lies in a
file beside it, to be told to the second one; it is not what locks.
"""

import os
from pathlib import Path

from filelock import FileLock, Timeout


class FolderInUse(Exception):
    """Another process has the folder. `pid` is its number where it is known. For the command line: exit 1."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        self.pid = pid
        who = f"process {pid}" if pid else "another process"
        super().__init__(f"the sessions in {folder} are in use by {who}: stop it first, or choose another GATEWAY_HOME")


class FolderLock:
    """Held from `take` to `give_back`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._pid = folder / "owner.pid"
        self._lock = FileLock(folder / ".lock", timeout=0, mode=0o600, thread_local=False)

    def take(self) -> None:
        """Raises FolderInUse."""
        try:
            self._lock.acquire()
        except Timeout:
            raise FolderInUse(self._folder, self._owner()) from None
        self._pid.unlink(missing_ok=True)
        fd = os.open(self._pid, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, b"%d\n" % os.getpid())
        finally:
            os.close(fd)

    def give_back(self) -> None:
        self._pid.unlink(missing_ok=True)
        self._lock.release()

    def _owner(self) -> int | None:
        try:
            return int(self._pid.read_text())
        except (OSError, ValueError):
            return None

"""Disks that fail: one that forgets at a power cut, one that refuses for a while, one that keeps waiting.

The operations are really done, in a real folder. Beside them a `ForgetfulDisk` keeps what
a disk may rely on: the content of a file as of its last sync, and a folder's names as of
the folder's last sync. What came after may be there, in part, as NULs, or not at all.
"""

import errno
import os
import random
import shutil
import threading
from pathlib import Path

from agent.sessions.disk import Disk


class ForgetfulDisk(Disk):
    """Goes dark at operation number `cut_at`; `remains` then writes what a restart would find."""

    def __init__(self, cut_at: int | None = None) -> None:
        self._cut_at = cut_at
        self._guard = threading.RLock()
        self.operations = 0
        self.dark = False
        self._synced: dict[int, bytes] = {}
        self._names: dict[Path, int] = {}
        self._synced_names: dict[Path, int] = {}
        self._inodes: dict[int, int] = {}
        self._next = 0

    def _step(self) -> None:
        self.operations += 1
        if self._cut_at is not None and self.operations >= self._cut_at:
            self.dark = True
        if self.dark:
            raise OSError(errno.EIO, "the power is gone")

    def _known(self, path: Path, *, new: bool) -> int:
        if path not in self._names:
            self._next += 1
            self._names[path] = self._next
            self._synced[self._next] = b""
        if new:
            self._next += 1
            self._names[path] = self._next
            self._synced[self._next] = b""
        return self._names[path]

    def open_append(self, path: Path) -> int:
        with self._guard:
            self._step()
            fd = super().open_append(path)
            self._inodes[fd] = self._known(path, new=False)
            return fd

    def open_new(self, path: Path) -> int:
        with self._guard:
            self._step()
            path.unlink(missing_ok=True)
            fd = super().open_new(path)
            self._inodes[fd] = self._known(path, new=True)
            return fd

    def write(self, fd: int, data: bytes) -> None:
        with self._guard:
            self._step()
            super().write(fd, data)

    def write_synced(self, fd: int, data: bytes) -> None:
        self.write(fd, data)
        self.sync_data(fd)

    def sync_data(self, fd: int) -> None:
        with self._guard:
            self._step()
            super().sync_data(fd)
            self._synced[self._inodes[fd]] = os.pread(fd, os.fstat(fd).st_size, 0)

    def truncate(self, fd: int, size: int) -> None:
        with self._guard:
            self._step()
            super().truncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        with self._guard:
            self._step()
            super().replace(source, target)
            if source in self._names:
                self._names[target] = self._names.pop(source)

    def remove(self, path: Path) -> None:
        with self._guard:
            self._step()
            super().remove(path)
            self._names.pop(path, None)

    def sync_folder(self, path: Path) -> None:
        with self._guard:
            self._step()
            super().sync_folder(path)
            for names in (self._names, self._synced_names):
                for name in [name for name in names if name.parent == path]:
                    if names is self._synced_names:
                        del self._synced_names[name]
            self._synced_names.update({n: inode for n, inode in self._names.items() if n.parent == path})

    def durable(self, text: bytes) -> bool:
        """Whether a synced file under a synced name holds `text`."""
        with self._guard:
            return any(text in self._synced[inode] for inode in self._synced_names.values())

    def remains(self, folder: Path, after: Path, chance: random.Random) -> None:
        """Write into `after` what a restart might find of `folder`."""
        after.mkdir()
        for path in folder.glob("index.sqlite*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, after)
        names = self._synced_names
        if chance.random() < 0.5:  # names that nobody synced may have become durable all the same
            names = self._synced_names | {n: i for n, i in self._names.items() if chance.random() < 0.5}
        for path, inode in names.items():
            content = self._synced[inode]
            if self._names.get(path) == inode and path.exists():
                content = _perhaps_more(content, path.read_bytes(), chance)
            target = after / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


def _perhaps_more(synced: bytes, now: bytes, chance: random.Random) -> bytes:
    """What was written and not synced: nothing, all, a part, or its length with other content."""
    if not now.startswith(synced) or len(now) == len(synced):
        return synced
    late = now[len(synced) :]
    part = late[: chance.randrange(len(late) + 1)]
    return synced + chance.choice([b"", late, part, bytes(len(part)), part[: len(part) // 2] + bytes(len(late))])


class RefusingDisk(Disk):
    """Refuses what is asked for by name while it is set: `write`, `sync_data`, `truncate`, `replace`, `open_read`.

    With `torn`, half of a refused write gets through. `only` limits it to files whose name holds it.
    """

    def __init__(self) -> None:
        self.refuses: set[str] = set()
        self.error = errno.ENOSPC
        self.torn = False
        self.only = ""
        self.refused = 0
        self._files: dict[int, str] = {}

    def _check(self, what: str, fd: int | None = None) -> None:
        if what in self.refuses and (fd is None or self.only in self._files.get(fd, "")):
            self.refused += 1
            raise OSError(self.error, os.strerror(self.error))

    def open_read(self, path: Path) -> int:
        if self.only in path.name:
            self._check("open_read")
        return super().open_read(path)

    def open_append(self, path: Path) -> int:
        fd = super().open_append(path)
        self._files[fd] = path.name
        return fd

    def open_new(self, path: Path) -> int:
        fd = super().open_new(path)
        self._files[fd] = path.name
        return fd

    def write(self, fd: int, data: bytes) -> None:
        try:
            self._check("write", fd)
        except OSError:
            if self.torn:
                super().write(fd, data[: len(data) // 2])
            raise
        super().write(fd, data)

    def write_synced(self, fd: int, data: bytes) -> None:
        self.write(fd, data)
        self.sync_data(fd)

    def sync_data(self, fd: int) -> None:
        self._check("sync_data", fd)
        super().sync_data(fd)

    def truncate(self, fd: int, size: int) -> None:
        self._check("truncate", fd)
        super().truncate(fd, size)

    def replace(self, source: Path, target: Path) -> None:
        self._check("replace")
        super().replace(source, target)


class WaitingDisk(Disk):
    """What is written to the journal while `open` is not set waits for it."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.open.set()
        self.waiting = False

    def write_synced(self, fd: int, data: bytes) -> None:
        self.waiting = True
        self.open.wait(10)
        self.waiting = False
        super().write_synced(fd, data)

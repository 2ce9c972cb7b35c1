"""The few things asked of a file system, in one place, so that a test can pull the plug.

Above it: the journal, the session files, the checkpoint. It knows nothing of sessions.
Every path is opened beneath its folder without following links (`O_NOFOLLOW` for the
folder of the file and the file itself); files are 0600, folders 0700. Errors are the
system's own `OSError`: what they mean is decided above.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0)
_BENEATH = os.open in os.supports_dir_fd and _DIRECTORY != 0
_fdatasync = getattr(os, "fdatasync", os.fsync)
_DSYNC = getattr(os, "RWF_DSYNC", 0) if hasattr(os, "pwritev") else 0
_UNSUPPORTED = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)


class ShortWrite(OSError):
    """The system took a part of what was to be written, and then no more."""


class Disk:
    """The real one. A test replaces it by one that forgets, refuses or is full."""

    def open_append(self, path: Path) -> int:
        """A descriptor at the end of `path`, made if it isn't there; every write goes to the end."""
        return self._open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT)

    def open_new(self, path: Path) -> int:
        """A descriptor of an empty `path`, whatever it was before (a temporary file)."""
        return self._open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC)

    def open_read(self, path: Path) -> int:
        """Raises FileNotFoundError; OSError with ELOOP for a link."""
        return self._open(path, os.O_RDONLY)

    def _open(self, path: Path, flags: int) -> int:
        flags |= _NOFOLLOW | _CLOEXEC | _BINARY
        if not _BENEATH:
            return os.open(path, flags, 0o600)
        with self._folder(path.parent) as folder:
            fd = os.open(path.name, flags | getattr(os, "O_NONBLOCK", 0), 0o600, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise OSError(40, "not a regular file", path.name)
        return fd

    @contextmanager
    def _folder(self, path: Path) -> Iterator[int]:
        fd = os.open(path, os.O_RDONLY | _DIRECTORY | _NOFOLLOW | _CLOEXEC)
        try:
            yield fd
        finally:
            os.close(fd)

    def write(self, fd: int, data: bytes) -> None:
        """Write the whole of `data`. Raises OSError; the caller cuts off what got there before."""
        view = memoryview(data)
        while view:
            written = os.write(fd, view)
            if written <= 0:
                raise ShortWrite(28, "nothing was written")
            view = view[written:]

    def sync_data(self, fd: int) -> None:
        """Wait until the content (and the length) is on the disk."""
        _fdatasync(fd)

    def write_synced(self, fd: int, data: bytes) -> None:
        """`write` and `sync_data`; where the system can (Linux 4.7, pwritev2(2)), in one call.

        A thread that makes one call takes the interpreter from the event loop once less. The descriptor is one
        of `open_append` or `open_new`: it writes to the end, whatever the offset.
        """
        if _DSYNC:
            try:
                written = os.pwritev(fd, [data], 0, _DSYNC)
            except OSError as error:
                if error.errno not in _UNSUPPORTED:
                    raise
                written = 0
            if written == len(data):
                return
            data = data[written:]
        self.write(fd, data)
        self.sync_data(fd)

    def truncate(self, fd: int, size: int) -> None:
        os.ftruncate(fd, size)

    def size(self, fd: int) -> int:
        return os.fstat(fd).st_size

    def read_at(self, fd: int, count: int, offset: int) -> bytes:
        """`count` bytes from `offset`, fewer only at the end."""
        if sys.platform != "win32":
            return os.pread(fd, count, offset)
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)

    def close(self, fd: int) -> None:
        os.close(fd)

    def replace(self, source: Path, target: Path) -> None:
        """Rename, taking the place of `target` at once."""
        source.replace(target)

    def remove(self, path: Path) -> None:
        """A missing file is no error."""
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """Make `path` and what is above it, 0700."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def sync_folder(self, path: Path) -> None:
        """Make renames, new names and removals in `path` durable (nothing on systems without it)."""
        if os.name == "nt":
            return
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

"""A file per session: its name, its first line, and the ways in which it changes.

Above it the filer (and before it starts, recovery), which alone changes files. A file grows by whole lines; it
is replaced as a whole only when its session is deleted (a tombstone) or begins anew.
Nothing is synced here: the journal holds every record until the checkpoint has synced
the file. A tail that a crash tore is cut, and kept aside in `<name>.corrupt`.
"""

import errno
import hashlib
import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import orjson

from agent.sessions.disk import Disk
from agent.sessions.lines import OtherKey, parse, read_head
from agent.sessions.reader import BLOCK, unended
from bus.keys import SessionKey

log = logging.getLogger(__name__)

MAX_OPEN = 64
_STRANGE = (errno.ELOOP, errno.EISDIR, errno.ENXIO, errno.ENOTDIR)


def file_of(folder: Path, key: SessionKey) -> Path:
    """Where a key's file lies."""
    return Path(place_of(folder, key))


def place_of(folder: Path, key: SessionKey) -> str:
    """The same as a text: a hash, so that no two share one even where case is folded, and none leaves `folder`."""
    name = hashlib.blake2b(key.identity.encode("utf-8", "surrogatepass"), digest_size=20).hexdigest()
    return f"{folder}{os.sep}{name[:2]}{os.sep}{name}.jsonl"


class _Open:
    """A file that is open for appending, and how long it is."""

    __slots__ = ("fd", "path", "size")

    def __init__(self, fd: int, size: int, path: Path) -> None:
        self.fd = fd
        self.size = size
        self.path = path


class SessionFiles:
    """The files that are written to. `append`, `replace` and `remove` are for one thread."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self._open: OrderedDict[str, _Open] = OrderedDict()
        self._folders: set[Path] = set()
        """Folders that were looked at: ours, and there."""
        self._suspect: dict[str, int] = {}
        self.touched_folders: set[Path] = set()
        self.touched_files: set[Path] = set()

    def path(self, key: SessionKey) -> Path:
        return file_of(self._folder, key)

    def append(self, key: SessionKey, head: Callable[[], bytes], lines: bytes, *, begins: bool = False) -> int:
        """Add `lines` (and the head where the file is empty); the new length. Raises OSError: nothing was added.

        Where a session `begins`, what lies there already is none of it and is kept under another name.
        """
        identity = key.identity
        if begins and self.has_content(key):
            self.set_aside(key)
        file = self._descriptor(key)
        data = lines if file.size else head() + lines
        try:
            self._disk.write(file.fd, data)
        except OSError:
            self._suspect[identity] = file.size
            self._take_back(identity, file.fd, file.size)
            raise
        file.size += len(data)
        self.touched_files.add(file.path)
        return file.size

    def has_content(self, key: SessionKey) -> bool:
        """Whether something lies where the session's file belongs. Raises OSError."""
        try:
            return self.path(key).stat().st_size > 0
        except FileNotFoundError:
            return False

    def _take_back(self, identity: str, fd: int, size: int) -> None:
        try:
            self._disk.truncate(fd, size)
            del self._suspect[identity]
        except OSError:
            self.forget(identity)

    def replace(self, key: SessionKey, content: bytes) -> int:
        """Give the file another content as a whole; the new length. Raises OSError."""
        path = self.path(key)
        self._make_folder(path.parent)
        fresh = path.with_suffix(".new")
        self._set_aside_link(fresh)
        fd = self._disk.open_new(fresh)
        try:
            self._disk.write(fd, content)
            self._disk.sync_data(fd)
        finally:
            self._disk.close(fd)
        self.forget(key.identity)
        self._disk.replace(fresh, path)
        self._disk.remove(path.with_name(path.name + ".corrupt"))
        self._suspect.pop(key.identity, None)
        self._note(path)
        return len(content)

    def set_aside(self, key: SessionKey) -> None:
        """Something lies where a new session begins: keep it under another name. Raises OSError."""
        self.forget(key.identity)
        self._set_aside(self.path(key))

    def remove(self, key: SessionKey) -> None:
        """Take the file away. Raises OSError."""
        self.forget(key.identity)
        path = self.path(key)
        for one in (path, path.with_name(path.name + ".corrupt")):
            self._disk.remove(one)
        self.touched_files.discard(path)
        if path.parent.is_dir():
            self.touched_folders.add(path.parent)

    def trim(self, key: SessionKey, size: int) -> None:
        """Before the journal is replayed: back to the `size` of the last checkpoint. Raises OSError."""
        path = self.path(key)
        if not path.exists() or path.is_symlink():
            return
        file = self._descriptor(key)
        if file.size > size:
            self._disk.truncate(file.fd, size)
            file.size = size

    def repair(self, key: SessionKey) -> int:
        """Cut a torn tail now rather than at the next record; the file's length. Raises OSError."""
        self.forget(key.identity)
        return self._descriptor(key).size if self.path(key).exists() else 0

    def _descriptor(self, key: SessionKey) -> "_Open":
        identity = key.identity
        found = self._open.get(identity)
        if found is not None:
            self._open.move_to_end(identity)
            return found
        while len(self._open) >= MAX_OPEN:
            self._disk.close(self._open.popitem(last=False)[1].fd)
        path = self.path(key)
        fd = self._open_file(path)
        try:
            size = self._checked(fd, path, key)
        except BaseException:  # until it is kept in `_open`, nobody else closes it
            self._disk.close(fd)
            raise
        opened = self._open[identity] = _Open(fd, size, path)
        if size == 0:
            self._note(path)
        return opened

    def _open_file(self, path: Path) -> int:
        if path.parent in self._folders:
            try:
                return self._disk.open_append(path)
            except OSError:
                self._folders.discard(path.parent)  # it is not as it was: look at all of it
        self._make_folder(path.parent)
        try:
            return self._disk.open_append(path)
        except OSError as error:
            if error.errno == errno.EMFILE:
                self.close()
            elif error.errno in _STRANGE:
                self._set_aside(path)
            else:
                raise
        return self._disk.open_append(path)

    def _checked(self, fd: int, path: Path, key: SessionKey) -> int:
        """The good length of a file just opened: what a failed write left and a torn tail are cut."""
        size = self._disk.size(fd)
        good = self._suspect.get(key.identity)
        if good is not None and size > good:
            self._disk.truncate(fd, good)
            size = good
        self._suspect.pop(key.identity, None)
        if size == 0:
            return 0
        first = self._disk.read_at(fd, BLOCK, 0).split(b"\n", 1)[0]
        try:
            read_head(first, key)
        except OtherKey:
            self._set_aside(path)
            raise OSError(errno.EAGAIN, "the file of another session was moved aside") from None
        return self._cut_tail(fd, path, size)

    def _cut_tail(self, fd: int, path: Path, size: int) -> int:
        torn = unended(self._disk, fd, size, size)
        if not torn:
            return size
        if parse(torn) is not None:
            self._disk.write(fd, b"\n")
            return size + 1
        keep_aside(self._disk, path, torn)
        self._disk.truncate(fd, size - len(torn))
        log.warning("%s: cut a torn line of %d bytes, kept in %s.corrupt", path.name, len(torn), path.name)
        return size - len(torn)

    def _make_folder(self, folder: Path) -> None:
        self._set_aside_link(folder)
        if not folder.is_dir():
            self._disk.make_folder(folder)
            self.touched_folders.add(folder.parent)
        self._folders.add(folder)

    def _set_aside_link(self, path: Path) -> None:
        if path.is_symlink():
            self._set_aside(path)

    def _set_aside(self, path: Path) -> None:
        log.warning("%s was not ours and was moved aside", path.name)
        self._disk.replace(path, path.with_name(path.name + ".corrupt"))

    def _note(self, path: Path) -> None:
        self.touched_files.add(path)
        self.touched_folders.add(path.parent)

    def forget(self, identity: str) -> None:
        """Close the descriptor, if one is open."""
        found = self._open.pop(identity, None)
        if found is not None:
            self._disk.close(found.fd)

    def close(self) -> None:
        for identity in list(self._open):
            self.forget(identity)


def keep_aside(disk: Disk, path: Path, torn: bytes) -> None:
    """Add what is cut from `path` to `<path>.corrupt`; a full disk is no reason to fail."""
    try:
        fd = disk.open_append(path.with_name(path.name + ".corrupt"))
    except OSError as error:
        log.warning("%s.corrupt could not be written: %s", path.name, error.strerror)
        return
    try:
        disk.write(fd, torn + b"\n")
    except OSError as error:
        log.warning("%s.corrupt could not be written: %s", path.name, error.strerror)
    finally:
        disk.close(fd)


def tombstone_line(seq: int, timestamp: str) -> bytes:
    """What is left of a deleted session below its head."""
    return orjson.dumps({"seq": seq, "type": "session.updated", "timestamp": timestamp, "deleted": True}) + b"\n"

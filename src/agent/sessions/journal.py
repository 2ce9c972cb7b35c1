"""The journal: the records of all sessions in one file, synced once per batch.

Above it the writer thread, which alone uses it. It knows lines and offsets, and
nothing of what they mean. What it promises: when `commit` returns, the bytes are on
the disk; when it raises, none of them is in the journal, now or after a restart, and
the next `commit` starts on a fresh line. After a failed sync the file is never trusted
again (the kernel may have dropped the pages and says so once only): what was good in
it moves to a new file, which is read back before it takes the old one's place.

`journal.jsonl` is the one that is written; `journal.<n>.jsonl` are older parts that wait
for their checkpoint. The order of reading is by number, the current one last.
"""

import errno
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from agent.sessions.disk import Disk
from agent.sessions.lines import parse
from agent.sessions.records import FORMAT_VERSION
from bus.errors import Conflict
from bus.events import JsonObject

log = logging.getLogger(__name__)

HEADER = orjson.dumps({"type": "journal", "version": FORMAT_VERSION}) + b"\n"
_PART = re.compile(r"journal\.(\d+)\.jsonl\Z")
_BLOCK = 1 << 20
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Refusals that leave what was there before as it is; any other may be a failed sync, after which no page is sure."""


class JournalRefused(Conflict):
    """The journal can't be used as it is; the message says why, for the operator. For the command line: exit 1."""


class Journal:
    """The current part, open for appending. `size` counts the good bytes."""

    def __init__(self, disk: Disk, folder: Path) -> None:
        self._disk = disk
        self._folder = folder
        self.path = folder / "journal.jsonl"
        self.size = 0
        self._fd: int | None = None
        self._broken = False

    def open(self, good: int) -> None:
        """Go on behind `good` bytes (0: a new file). Raises OSError."""
        self._fd = self._disk.open_append(self.path)
        if good < len(HEADER):
            self._disk.truncate(self._fd, 0)
            self._disk.write(self._fd, HEADER)
            good = len(HEADER)
        elif self._disk.size(self._fd) > good:
            self._disk.truncate(self._fd, good)
        self._disk.sync_data(self._fd)
        self._disk.sync_folder(self._folder)
        self.size = good

    def commit(self, data: bytes) -> None:
        """Make `data` (whole lines) durable. Raises OSError; then nothing of it was kept."""
        if self._broken or self._fd is None:
            self._renew()
        assert self._fd is not None
        try:
            self._disk.write_synced(self._fd, data)
        except OSError as error:
            if error.errno in _NO_SPACE:
                self._cut()
            else:
                self._poison()
            raise
        self.size += len(data)

    def _cut(self) -> None:
        """Take back what got into the file before the disk refused."""
        assert self._fd is not None
        try:
            self._disk.truncate(self._fd, self.size)
            self._disk.sync_data(self._fd)
        except OSError:
            self._poison()

    def _poison(self) -> None:
        """Never write to this file again; and take the refused bytes out of it, should nothing else work."""
        self._broken = True
        try:
            if self._fd is not None:
                self._disk.truncate(self._fd, self.size)
        except OSError as error:
            log.error("refused records could not be taken out of the journal: %s", error.strerror)
        try:
            self._renew()
        except OSError as error:
            log.error("the journal could not be renewed: %s", error.strerror)

    def _renew(self) -> None:
        """Carry the good bytes into a new file. Raises OSError, and stays broken."""
        self._broken = True
        good = self._good_bytes()
        fresh = self._folder / "journal.new"
        fd = self._disk.open_new(fresh)
        try:
            self._disk.write(fd, good)
            self._disk.sync_data(fd)
            if self._read(fd, len(good) + 1) != good:
                raise OSError(5, "the new journal does not read back as it was written")
            self._disk.replace(fresh, self.path)
            self._disk.sync_folder(self._folder)
        except OSError:
            self._disk.close(fd)
            raise
        self.close()
        self._fd, self.size, self._broken = fd, len(good), False

    def _good_bytes(self) -> bytes:
        if self._fd is None or self.size < len(HEADER):
            return HEADER
        good = self._read(self._fd, self.size)
        if len(good) < self.size:
            raise OSError(5, "the journal cannot be read back")
        return good

    def _read(self, fd: int, count: int) -> bytes:
        out, offset = [], 0
        while offset < count and (block := self._disk.read_at(fd, min(_BLOCK, count - offset), offset)):
            out.append(block)
            offset += len(block)
        return b"".join(out)

    def rotate(self) -> None:
        """Put the current part aside for its checkpoint and begin a new one. Raises OSError."""
        if self._broken or self._fd is None:
            self._renew()
        numbers = [number for number, _ in parts(self._folder)]
        target = self._folder / f"journal.{max(numbers, default=0) + 1}.jsonl"
        self._disk.replace(self.path, target)
        self._disk.sync_folder(self._folder)  # or the new one could take the old one's place before this is durable
        self.close()
        self.size = 0
        self._renew()

    def cut_parts(self, paths: list[Path]) -> None:
        """Remove parts whose records are in the files and the index. Raises OSError."""
        for path in paths:
            self._disk.remove(path)
        self._disk.sync_folder(self._folder)

    def remove(self) -> None:
        """A clean end: every record is in its file, so no journal is needed. Raises OSError."""
        self.close()
        self.cut_parts([path for _, path in parts(self._folder)] + [self.path])

    def close(self) -> None:
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None


def parts(folder: Path) -> list[tuple[int, Path]]:
    """The older parts, in their order."""
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _PART.match(path.name))]
    return sorted(found)


def read_part(disk: Disk, path: Path) -> tuple[list[JsonObject], int, bytes]:
    """The entries of one part, the length of its good bytes, and the torn tail behind them.

    A bad line in the middle is passed over, with one warning. Raises JournalRefused for
    a newer format or a link.
    """
    entries: list[JsonObject] = []
    bad = good = 0
    tail = b""
    for line in _lines(disk, path):
        if not line.endswith(b"\n"):
            tail = line
            break
        good += len(line)
        found = parse(line)
        if found is None:
            bad += 1
        elif "records" in found or "forget" in found:
            entries.append(found)
        elif found.get("type") == "journal":
            _check_version(found)
    if bad:
        log.warning("%s: passed over %d unreadable lines", path.name, bad)
    return entries, good, tail


def _check_version(header: JsonObject) -> None:
    version = header.get("version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise JournalRefused(
            f"the journal has format {version}, this version of the gateway reads up to {FORMAT_VERSION}: "
            "start a newer gateway"
        )


def _lines(disk: Disk, path: Path) -> Iterator[bytes]:
    """Lines with their ends; the last one may lack it."""
    try:
        fd = disk.open_read(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise JournalRefused(f"{path.name} cannot be opened: {error.strerror}") from error
    try:
        rest, offset = b"", 0
        while block := disk.read_at(fd, _BLOCK, offset):
            offset += len(block)
            *whole, rest = (rest + block).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest
    finally:
        disk.close(fd)

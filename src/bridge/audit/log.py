"""Writing to the audit log: one line, synced, chained, whole or not at all.

Several processes may write one log (`ai-bridge call` beside `ai-bridge run`), and
several writers of one process: each append takes the process's lock and one on the
file, and looks for what others appended meanwhile. A torn tail is cut and kept aside.
A log whose end is missing gets a record that says so, so that the loss stays
visible. After a failed write nothing of the record is in the log. A file that is full
gets a name of its own, and of those the oldest are removed: the log is bounded.
"""

import asyncio
import contextlib
import logging
import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bridge.audit.chain import (
    MAX_LINE_BYTES,
    ROTATED,
    Head,
    beginning,
    encode_head,
    head_path,
    last_record,
    line_hash,
    read_head,
    tail,
)
from bridge.audit.files import KEPT_PARTS, PART_BYTES, part_path, part_paths

if sys.platform != "win32":
    import fcntl

_OWN = frozenset({"seq", "timestamp", "event", "previous"})
_log = logging.getLogger(__name__)
_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
_GUARDS: dict[str, threading.Lock] = {}
"""By file: one process may have several writers of it, and not every system has locks that keep them apart."""


class AuditFailed(OSError):
    """The record is not in the log. What it was to witness must not happen."""


class AuditLog:
    """The log at `path` (mode 0600). `fsync=False` trades the last records at a power cut for speed.

    A file of `part_bytes` is full; `kept_parts` full ones are kept.
    """

    def __init__(
        self, path: Path, *, fsync: bool = True, part_bytes: int = PART_BYTES, kept_parts: int = KEPT_PARTS
    ) -> None:
        """Raises AuditFailed where the file can't be opened."""
        self.path = path
        self._fsync = fsync
        self._part_bytes = part_bytes
        self._kept_parts = kept_parts
        self._guard = _GUARDS.setdefault(os.path.realpath(path), threading.Lock())
        self._head = Head()
        self._size = -1
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(path, _FLAGS | os.O_APPEND, 0o600)
            try:
                self._head_file = os.open(head_path(path), _FLAGS, 0o600)
            except OSError:
                os.close(self._file)
                raise
        except OSError as error:
            raise AuditFailed(f"{path.name}: {error.strerror or error}") from error
        self._open = True

    @property
    def head(self) -> tuple[int, str]:
        """Number and hash of the last record this process knows of; for a log line elsewhere."""
        return self._head.seq, self._head.hash

    def append(self, event: str, *, sync: bool = True, **fields: Any) -> dict[str, Any]:
        """Write one record and, with `sync`, wait for the disk. Raises AuditFailed; then nothing was written.

        `fields` are JSON values; secrets and contents don't belong here (`shape`).
        """
        return self.append_many([(event, fields)], sync=sync)[0]

    def append_many(self, entries: Sequence[tuple[str, dict[str, Any]]], *, sync: bool = True) -> list[dict[str, Any]]:
        """Several records as one write, all of them or none; `sync` waits for the disk. Raises AuditFailed."""
        with self._guard, self._locked():
            try:
                self._catch_up()
                if self._size >= self._part_bytes:
                    self._divide()
                if self._size == 0:
                    self._begin()
                return self._write(entries, sync)
            except AuditFailed:
                raise
            except OSError as error:
                self._size = -1
                raise AuditFailed(f"{self.path.name}: {error.strerror or error}") from error

    async def intent(self, record: Mapping[str, Any]) -> None:
        """Write `record` (its `event` is what is about to happen) and sync, while the event loop goes on.

        Raises AuditFailed. A caller that is cancelled meanwhile leaves a whole record behind.
        """
        fields = dict(record)
        await asyncio.shield(asyncio.to_thread(self.append, str(fields.pop("event", "")), **fields))

    def note(self, record: Mapping[str, Any]) -> None:
        """Write `record` without waiting for the disk; a failure is logged."""
        fields = dict(record)
        self.record(str(fields.pop("event", "")), **fields)

    def record(self, action: str, **details: Any) -> None:
        """Write down what was done, without waiting for the disk; a failure is logged, for it was done."""
        try:
            self.append(action, sync=False, **details)
        except AuditFailed as error:
            _log.error("the audit log did not take a record: %s", error)

    async def tail(self, limit: int = 50) -> list[dict[str, Any]]:
        """The last `limit` records, oldest first."""
        return await asyncio.to_thread(tail, self.path, limit)

    def close(self) -> None:
        """Close the files; the log can be opened again."""
        with self._guard:
            if self._open:
                self._open = False
                if self._file >= 0:
                    os.close(self._file)
                os.close(self._head_file)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        if not self._open:
            raise AuditFailed(f"{self.path.name} is closed")
        if sys.platform == "win32":  # one process per folder is all there is to keep apart (pidfile.py, FolderLock)
            yield
        else:
            fcntl.flock(self._head_file, fcntl.LOCK_EX)  # the one file that keeps its name
            try:
                yield
            finally:
                fcntl.flock(self._head_file, fcntl.LOCK_UN)

    def _catch_up(self) -> None:
        """Learn what the file holds where it isn't as we left it."""
        self._follow()
        if os.fstat(self._file).st_size == self._size:
            return
        found, end, size = last_record(self.path)
        if end < size:
            self._cut(end, size)
        kept = read_head(self.path)
        self._head, self._size = found, end
        reason = _broken(found, kept)
        if reason:
            _log.error("the audit log is broken: %s", reason)
            self._head = Head(max(found.seq, 0), found.hash)
            self._write([("audit.broken", {"reason": reason})], True)

    def _follow(self) -> None:
        """Open what the name means now, where another writer began a new file."""
        with contextlib.suppress(FileNotFoundError):
            if self._file >= 0 and os.path.samestat(os.fstat(self._file), os.lstat(self.path)):
                return
        self._leave()
        self._file = os.open(self.path, _FLAGS | os.O_APPEND, 0o600)

    def _leave(self) -> None:
        self._size = -1
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def _divide(self) -> None:
        """Give the full file a name of its own and open another. Where that can't be, this one grows on."""
        self._leave()
        with contextlib.suppress(OSError):  # Windows, while somebody reads it: at a later record
            self.path.rename(part_path(self.path, self._head.seq))
        self._catch_up()

    def _begin(self) -> None:
        """The first record of a new file says where the log now begins; then what is older may go."""
        parts = part_paths(self.path)
        if not parts:
            return
        dropped = max(0, len(parts) - self._kept_parts)
        first, previous = beginning(parts, dropped)
        self._write([(ROTATED, {"first_seq": first, "first_previous": previous})], True)
        for part in parts[:dropped]:
            with contextlib.suppress(OSError):  # Windows, while somebody reads it: at the next new file
                part.unlink()

    def _cut(self, end: int, size: int) -> None:
        """Take a torn tail off, keeping it aside."""
        with self.path.open("rb") as file:
            file.seek(end)
            torn = file.read(size - end)
        aside = os.open(self.path.with_suffix(".torn"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(aside, torn + b"\n")
        finally:
            os.close(aside)
        os.ftruncate(self._file, end)
        _log.warning("the audit log ended in the middle of a record; kept aside", extra={"bytes": size - end})

    def _write(self, entries: Sequence[tuple[str, dict[str, Any]]], sync: bool) -> list[dict[str, Any]]:
        head = self._head
        records: list[dict[str, Any]] = []
        lines: list[bytes] = []
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        for event, fields in entries:
            if not _OWN.isdisjoint(fields):
                fields = {name: value for name, value in fields.items() if name not in _OWN}
            record = {"seq": head.seq + 1, "timestamp": now, "event": event, **fields, "previous": head.hash}
            line = _line(record)
            head = Head(head.seq + 1, line_hash(line))
            records.append(record)
            lines.append(line + b"\n")
        whole, start = b"".join(lines), self._size
        try:
            if os.write(self._file, whole) != len(whole):
                raise OSError(28, "no space left on device")
            if sync and self._fsync:
                os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, start)
            raise
        self._head = head
        self._size = start + len(whole)
        self._keep_head()
        return records

    def _keep_head(self) -> None:
        """A head that can't be written is behind, which is allowed; the record itself is safe."""
        try:
            os.lseek(self._head_file, 0, os.SEEK_SET)
            os.write(self._head_file, encode_head(self._head))
        except OSError as error:
            _log.error("the head of the audit log could not be written: %s", error)


def _line(record: dict[str, Any]) -> bytes:
    try:
        line = orjson.dumps(record)
    except TypeError as error:
        raise AuditFailed(f"this can't be recorded: {error}") from error
    if len(line) >= MAX_LINE_BYTES:
        raise AuditFailed("this record is too large")
    return line


def _broken(found: Head, kept: Head | None) -> str:
    """What is wrong between the last line and the head that was kept, or ''."""
    if found.seq < 0:
        return "the last line is not a record"
    if kept is None:
        return "" if found.seq == 0 else "the kept head was missing"
    if kept.seq > found.seq:
        return f"records {found.seq + 1} to {kept.seq} were missing at the end"
    if kept.seq == found.seq and kept.hash != found.hash:
        return f"record {found.seq} was changed"
    return ""

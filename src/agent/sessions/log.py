"""The port `SessionStore` on one disk: the journal, a file per session, an index.

Above it the agent loop, and `jsonl_store.py`, which adds what the gateway's handlers
ask. It belongs to the event loop that opened it; disks are waited for in the writer's
thread, the checkpoint's, and a small pool of readers. The one exception: `append` to a
session that nobody has asked for lately looks it up in the index where it stands.
"""

import asyncio
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from agent.ports import Duplicate, Record, SessionHead, SessionState
from agent.sessions.catalogue import Catalogue
from agent.sessions.checkpoint import KEYS_KEPT_SECONDS, Changes, Checkpointer
from agent.sessions.disk import Disk
from agent.sessions.entry import Entry
from agent.sessions.filing import Filing
from agent.sessions.history import Cut
from agent.sessions.index import Index, Row
from agent.sessions.journal import Journal
from agent.sessions.keys_used import keys_used
from agent.sessions.lines import OtherKey, encode, head_line
from agent.sessions.lock import FolderLock
from agent.sessions.overlay import Overlay
from agent.sessions.recovery import Recovery, scan
from agent.sessions.session import SessionFiles, file_of
from agent.sessions.summary import Summary, begun, folded
from agent.sessions.view import View, select, source_of
from agent.sessions.writer import Writer
from bus.errors import Conflict, NotFound, Overloaded
from bus.events import JsonObject
from bus.keys import SessionKey

log = logging.getLogger(__name__)
T = TypeVar("T")


class SessionLog:
    """An async context manager: entered, it holds the folder's lock and has recovered; left, it is checkpointed."""

    def __init__(
        self, folder: Path, *, disk: Disk | None = None, clock: Callable[[], float] = time.time,
        checkpoint_bytes: int = 8 << 20, checkpoint_sessions: int = 1000, cached_sessions: int = 256,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._disk = disk or Disk()
        self._clock = clock
        self._limits = (checkpoint_bytes, checkpoint_sessions)
        self._lock = FolderLock(folder)
        self._index = Index(folder / "index.sqlite")
        self._overlay = Overlay(cached_sessions)
        self._readers = ThreadPoolExecutor(2, "sessions-read")
        self._cuts: OrderedDict[tuple[str, int, str], Cut | None] = OrderedDict()
        self._generation = 0
        self._touched = 0
        self._closed = True

    # ------------------------------------------------------------ lifetime

    async def __aenter__(self) -> Self:
        """Raises FolderInUse, JournalRefused, OSError."""
        self._loop = asyncio.get_running_loop()
        try:
            await self._loop.run_in_executor(self._readers, self._open)
        except BaseException:
            self._readers.shutdown(wait=False)
            raise
        self._closed = False
        self._writer.start()
        return self

    def _open(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder.chmod(0o700)
        self._lock.take()
        try:
            journal = Journal(self._disk, self._folder)
            files = SessionFiles(self._disk, self._folder)
            recovery = Recovery(self._disk, self._folder, journal, files, self._index)
            recovery.run()
        except BaseException:
            self._index.close()
            self._lock.give_back()
            raise
        self._touched = recovery.touched
        self._overlay.start_with(recovery.changes)
        self._checkpointer = Checkpointer(self._disk, self._index, self._clock)
        self._writer = Writer(
            journal, Filing(files, recovery.changes, self._written), self._checkpointer, self,
            refill=lambda paths: Recovery(self._disk, self._folder, journal, files, self._index).refill(paths),
            checkpoint_bytes=self._limits[0], checkpoint_sessions=self._limits[1],
        )  # fmt: skip

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Write out everything and let go of the folder."""
        if self._closed:
            return
        self._closed = True
        await self._command(self._writer.stop)
        await self._loop.run_in_executor(None, self._finish)

    def _finish(self) -> None:
        self._writer.join()
        self._checkpointer.close()
        self._readers.shutdown()
        self._index.close()
        self._lock.give_back()

    # ------------------------------------------------------------ the port

    async def state(self, key: SessionKey) -> SessionState | None:
        """What is known of `key`; None where it never existed. Raises NewerFormat, Overloaded."""
        summary = await self._summary(key)
        return None if summary is None else summary.state()

    def append(
        self, key: SessionKey, records: Sequence[Record], *, head: SessionHead | None = None
    ) -> "asyncio.Future[None]":
        """Write `records` in order and as one; await the result for the disk.

        Raises BadParameters for what can't be stored, Conflict where the numbers do not rise,
        NotFound for an unknown session without `head`. The await raises Overloaded.
        """
        if self._closed:
            raise Overloaded("the store of sessions is closed")
        lines = tuple([encode(record) for record in records])
        before = self._summary_now(key)
        start = self._start(key, before, records, head)
        after = folded(start, records, self._next_touch())
        described = after.head() if after.deleted else start.head()
        durable: asyncio.Future[None] = self._loop.create_future()
        entry = Entry(
            key, head=head_line(described), lines=lines, before=before, after=after, keys=keys_used(key, records),
            begins=start is not before, generation=self._generation, durable=durable,
        )  # fmt: skip
        self._overlay.add(entry)
        self._writer.put(entry)
        return durable

    def _start(
        self, key: SessionKey, before: Summary | None, records: Sequence[Record], head: SessionHead | None
    ) -> Summary:
        if head is not None and head.key != key:
            raise Conflict("the head is another session's")
        if head is not None and (before is None or before.deleted):
            start = begun(head, before)
        elif before is None:
            raise NotFound("no such session")
        else:
            start = before
        last = start.record_seq
        for record in records:
            if record.seq <= last and not start.deleted:
                raise Conflict(f"record {record.seq} comes after {last}")
            last = record.seq
        return start

    async def read(
        self, key: SessionKey, *, after_seq: int = 0, before_seq: int | None = None, limit: int | None = None,
        types: frozenset[str] | None = None, newest: bool = False,
    ) -> list[Record]:  # fmt: skip
        """Records in rising order with `after_seq < seq < before_seq`; with `newest`, the last `limit` of them.

        What was appended before is seen, on the disk or not. Raises NewerFormat, Overloaded.
        """
        return await self._viewing(key, lambda view: select(
            view, after_seq=after_seq, before_seq=before_seq, limit=limit, types=types, newest=newest))  # fmt: skip

    async def duplicate(self, user: str, idempotency_key: str) -> Duplicate | None:
        """What `user` did under this key in the last 24 h; a first use still on its way to the disk is waited for."""
        found = self._overlay.key(user, idempotency_key)
        if found is not None:
            used, entry = found
            if entry is not None and entry.durable is not None:
                try:
                    await asyncio.shield(entry.durable)
                except Overloaded:
                    return None
        else:
            stored = await self._in_pool(lambda: self._index.key_used(user, idempotency_key))
            if stored is None:
                return None
            used = stored
        return used.duplicate if self._clock() - used.at < KEYS_KEPT_SECONDS else None

    # ------------------------------------------------------------ what is known

    async def _summary(self, key: SessionKey) -> Summary | None:
        found, summary = self._overlay.known(key.identity)
        if found:
            return summary
        loaded = await self._in_pool(lambda: self._load(key))
        found, summary = self._overlay.known(key.identity)
        if found:
            return summary
        if loaded is not None:
            self._overlay.remember(loaded)
        return loaded

    def _summary_now(self, key: SessionKey) -> Summary | None:
        found, summary = self._overlay.known(key.identity)
        return summary if found else self._load(key)

    def _load(self, key: SessionKey) -> Summary | None:
        """From the index; from the file itself where the two disagree on its length."""
        path = file_of(self._folder, key)
        try:
            row = self._index.get(key.identity)
            size = path.lstat().st_size if path.exists() and not path.is_symlink() else 0
            if row is not None and (size == row.size or size == 0):
                return row.summary
            if row is None and size == 0:
                return None
            return self._rescanned(key, path, row)
        except OtherKey:
            return row.summary if row else None
        except (OSError, sqlite3.Error) as error:
            raise Overloaded("the store of sessions can't be read", retry_after_ms=1000) from error

    def _rescanned(self, key: SessionKey, path: Path, row: Row | None) -> Summary | None:
        """A file that was changed by other hands, or while the store was closed."""
        found = scan(self._disk, path, key)
        if found is None:
            return row.summary if row else None
        summary = found.summary
        if row is not None:
            summary.touched = row.summary.touched
            summary.record_seq = max(summary.record_seq, row.summary.last_seq)
        log.warning("%s is not as the index has it and was read again", path.name)
        self._writer.put(lambda: self._writer.filing.adopt(summary))
        return summary

    async def _viewing(self, key: SessionKey, look: Callable[[View], T]) -> T:
        """Run `look` over a session's log, off the loop."""
        known, summary = self._overlay.known(key.identity)
        if not known:
            summary = await self._summary(key)
        head = head_line(summary.head()) if summary else b""
        source = source_of(key, file_of(self._folder, key), head, self._overlay.unwritten(key.identity))

        def work() -> T:
            with View(self._disk, source) as view:
                return look(view)

        return await self._in_pool(work)

    def _next_touch(self) -> int:
        self._touched += 1
        return self._touched

    # ------------------------------------------------------------ threads

    async def _in_pool(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise Overloaded("the store of sessions is closed")
        try:
            return await self._loop.run_in_executor(self._readers, work)
        except (OSError, sqlite3.Error) as error:
            raise Overloaded("the store of sessions can't be read", retry_after_ms=1000) from error

    async def _over(self, look: Callable[[Catalogue], T]) -> T:
        """Look over all sessions, off the loop."""
        catalogue = Catalogue(self._index, dict(self._overlay.live))
        return await self._in_pool(lambda: look(catalogue))

    async def _command(self, command: Callable[[Callable[[Exception | None], None]], None]) -> Exception | None:
        """Run a command of the writer and wait until it is over; what went wrong."""
        over: asyncio.Future[Exception | None] = self._loop.create_future()

        def then(error: Exception | None) -> None:
            if error is not None:
                log.error("the store of sessions: %s", error)
            self._loop.call_soon_threadsafe(lambda: None if over.done() else over.set_result(error))

        self._writer.put(lambda: command(then))
        return await over

    def committed(self, entries: Sequence[Entry]) -> None:
        self._tell(self._overlay.committed, entries)

    def refused(self, error: Exception, generation: int) -> None:
        self._tell(self._refuse, error, generation)

    def _refuse(self, error: Exception, generation: int) -> None:
        self._generation = generation
        self._overlay.refused(error)

    def _written(self, entries: Sequence[Entry]) -> None:
        self._tell(self._overlay.written, entries)

    def checkpointed(self, changes: Changes) -> None:
        self._tell(self._overlay.checkpointed, changes)

    def _tell(self, what: Callable[..., None], *arguments: object) -> None:
        self._loop.call_soon_threadsafe(what, *arguments)

    def stats(self) -> JsonObject:
        """Figures for metrics and the doctor: sizes now, counters since the start."""
        filing = self._writer.filing
        return {"journal_bytes": self._writer.journal_bytes, "lagging": filing.lagging, "file_errors": filing.errors,
                **self._overlay.sizes(), **vars(self._writer.counters)}  # fmt: skip

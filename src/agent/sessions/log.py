"""The port `SessionStore` on one disk: the journal, a file per session, an index.

Above it the agent loop, and `jsonl_store.py`, which adds what the gateway's handlers
ask. It belongs to the event loop that opened it; disks are waited for in the writer's
thread, the checkpoint's, and a small pool of readers. The one exception: what is known of a
session that nobody has asked for lately is looked up in the index where it stands.
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

from agent.ports.sessions import Duplicate, Record, SessionHead, SessionState
from agent.sessions.catalogue import Catalogue
from agent.sessions.checkpoint import KEYS_KEPT_SECONDS, Checkpointer
from agent.sessions.courier import Courier
from agent.sessions.disk import Disk
from agent.sessions.entry import Entry
from agent.sessions.filing import Filing
from agent.sessions.history import Cut
from agent.sessions.index import Index
from agent.sessions.journal import Journal
from agent.sessions.keys_used import keys_used
from agent.sessions.lines import encoded, head_line
from agent.sessions.lock import FolderLock
from agent.sessions.lookup import Lookup
from agent.sessions.overlay import Overlay
from agent.sessions.recovery import Recovery
from agent.sessions.session import SessionFiles, file_of
from agent.sessions.summary import Summary, begun, folded
from agent.sessions.view import View, select, source_of
from agent.sessions.writer import Writer
from bus.errors import BadParameters, Conflict, NotFound, Overloaded
from bus.events import JsonObject
from bus.keys import SessionKey

log = logging.getLogger(__name__)
T = TypeVar("T")


class SessionLog:
    """An async context manager: entered, it holds the folder's lock and has recovered; left, it is checkpointed."""

    def __init__(
        self, folder: Path, *, disk: Disk | None = None, clock: Callable[[], float] = time.time,
        checkpoint_bytes: int = 4 << 20, checkpoint_sessions: int = 500, cached_sessions: int = 256,
    ) -> None:  # fmt: skip
        self._folder = folder
        self._disk = disk or Disk()
        self._clock = clock
        self._limits = (checkpoint_bytes, checkpoint_sessions)
        self._lock = FolderLock(folder)
        self._index = Index(folder / "index.sqlite")
        self._overlay = Overlay(cached_sessions)
        self._readers = ThreadPoolExecutor(2, "sessions-read")
        self._long_readers = ThreadPoolExecutor(1, "sessions-search")
        self._cuts: OrderedDict[tuple[str, int, str], Cut | None] = OrderedDict()
        self._touched = 0
        self._closed = True

    # ------------------------------------------------------------ lifetime

    async def __aenter__(self) -> Self:
        """Raises FolderInUse, JournalRefused, OSError."""
        self._loop = asyncio.get_running_loop()
        self._courier = Courier(self._loop, self._overlay)
        opening = self._loop.run_in_executor(self._readers, self._open)
        try:
            await asyncio.shield(opening)
        except asyncio.CancelledError:
            await asyncio.wait([opening])
            if not opening.exception():
                self._undo()
            raise
        finally:
            if not opening.done() or opening.exception():
                self._readers.shutdown(wait=False)
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
            recovery = self._recovery(journal, files)
            recovery.run()
        except BaseException:  # whatever it was: the folder must not stay locked
            self._undo()
            raise
        self._touched = recovery.touched
        self._overlay.start_with(recovery.changes)
        self._lookup = Lookup(self._disk, self._folder, self._index, self._overlay, self._adopt)
        self._checkpointer = Checkpointer(self._disk, self._index, self._clock)
        self._writer = Writer(
            journal, Filing(files, recovery.changes, self._courier.written), self._checkpointer, self._courier,
            refill=lambda paths: self._recovery(journal, files).refill(paths),
            checkpoint_bytes=self._limits[0], checkpoint_sessions=self._limits[1],
        )  # fmt: skip
        self._courier.put = self._writer.put

    def _recovery(self, journal: Journal, files: SessionFiles) -> Recovery:
        return Recovery(self._disk, self._folder, journal, files, self._index, self._clock)

    def _undo(self) -> None:
        self._index.close()
        self._lock.give_back()

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
        self._long_readers.shutdown()
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
        durable: asyncio.Future[None] = self._loop.create_future()
        if not records:
            durable.set_result(None)
            return durable
        both = [encoded(record) for record in records]
        records = [record for _, record in both]
        before = self._lookup.now(key)
        start = self._start(key, before, records, head)
        self._touched += 1
        after = folded(start, records, self._touched)
        begins = start is not before
        lines = tuple([line for line, _ in both])
        head_bytes = head_line((after if after.deleted else start).head()) if begins or after.deleted else b""
        entry = Entry(
            key, head=head_bytes, lines=lines, before=before, after=after, keys=keys_used(key, records),
            begins=begins, generation=self._courier.generation, durable=durable,
        )  # fmt: skip
        self._overlay.add(entry)
        self._courier.send(entry)
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
        while True:
            if self._closed:
                raise Overloaded("the store of sessions is closed")
            try:
                found, summary = self._lookup.at_once(key)
            except UnicodeEncodeError:
                raise BadParameters("not a text of Unicode") from None
            if found:
                return summary
            epoch = self._overlay.epoch
            loaded = await self._in_pool(lambda: self._lookup.load(key))
            if epoch == self._overlay.epoch and not self._overlay.known(key.identity)[0]:
                self._overlay.remember(key.identity, loaded)
                return loaded

    async def _viewing(
        self, key: SessionKey, look: Callable[[View], T], pool: ThreadPoolExecutor | None = None
    ) -> T:  # fmt: skip
        """Run `look` over a session's log, off the loop; what may take long in a `pool` of its own."""
        summary = await self._summary(key)
        head = head_line(summary.head()) if summary else b""
        source = source_of(key, file_of(self._folder, key), head, self._overlay.unwritten(key.identity))

        def work() -> T:
            with View(self._disk, source) as view:
                return look(view)

        return await self._in_pool(work, pool)

    def _adopt(self, summary: Summary) -> None:
        self._courier.command(lambda: self._writer.filing.adopt(summary))

    # ------------------------------------------------------------ threads

    async def _in_pool(self, work: Callable[[], T], pool: ThreadPoolExecutor | None = None) -> T:
        if self._closed:
            raise Overloaded("the store of sessions is closed")
        try:
            return await self._loop.run_in_executor(pool or self._readers, work)
        except UnicodeEncodeError:
            raise BadParameters("not a text of Unicode") from None
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

        self._courier.command(lambda: command(then))
        return await over

    def stats(self) -> JsonObject:
        """Figures for metrics and the doctor: sizes now, counters since the start."""
        filing = self._writer.filing
        return {"journal_bytes": self._writer.journal_bytes, "lagging": filing.lagging, "file_errors": filing.errors,
                **self._overlay.sizes(), **vars(self._writer.counters)}  # fmt: skip

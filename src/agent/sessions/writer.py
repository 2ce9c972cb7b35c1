"""The one thread that writes: batches to the journal, then lines to the files.

Above it the store, which lives on the event loop and hears of what happened through
`Listener`. A commit starts when the disk is idle; what arrives meanwhile is the next
batch, so there is no timer. An acknowledgement is given between the journal's sync and
the writing of the files: the files need no sync before the checkpoint.

After a refused batch everything that was queued behind it is refused too, because it was
made in the belief that the batch holds: the store counts `generation` up, and entries of
an older one are dropped here.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, TypeAlias

from agent.sessions.checkpoint import Changes, Checkpointer
from agent.sessions.entry import Entry
from agent.sessions.index import Row
from agent.sessions.journal import Journal, parts
from agent.sessions.session import SessionFiles

log = logging.getLogger(__name__)

MAX_BATCH = 4 << 20
RETRY_SECONDS = 5.0
Command: TypeAlias = Callable[[], None]


class Listener(Protocol):
    """What the store hears, on the writer's thread; it hands it over to the event loop."""

    def committed(self, entries: Sequence[Entry]) -> None:
        """Durable."""
        ...

    def refused(self, error: OSError, generation: int) -> None:
        """Nothing that isn't committed will be."""
        ...

    def written(self, entries: Sequence[Entry]) -> None:
        """In the files, so that readers find them there."""
        ...

    def checkpointed(self, changes: Changes) -> None:
        """In the index."""
        ...


class Counters:
    """Figures since the start, for metrics."""

    def __init__(self) -> None:
        self.batches = self.appends = self.bytes = self.refusals = self.file_errors = 0
        self.checkpoints = self.checkpoint_errors = 0
        self.sync_seconds = self.slowest_sync = 0.0


class Writer:
    """`put` from any thread; everything else happens on its own."""

    def __init__(
        self, journal: Journal, files: SessionFiles, checkpointer: Checkpointer, listener: Listener, *,
        checkpoint_bytes: int, checkpoint_sessions: int,
    ) -> None:  # fmt: skip
        self._journal = journal
        self.files = files
        self._checkpointer = checkpointer
        self._listener = listener
        self._checkpoint_bytes = checkpoint_bytes
        self._checkpoint_sessions = checkpoint_sessions
        self._queue: queue.SimpleQueue[Entry | Command] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="sessions-writer", daemon=True)
        self._lagging: dict[str, list[Entry]] = {}
        self._generation = 0
        self._running = True
        self._checkpoint_wanted = False
        self._checkpointing = False
        self._checkpoint_next: list[Callable[[Exception | None], None]] = []
        self._not_before = 0.0
        self._stopping = False
        self.changes = Changes()
        self.counters = Counters()

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Entry | Command) -> None:
        """An entry to write, or a command to run between two batches."""
        self._queue.put(item)

    def join(self) -> None:
        self._thread.join()

    @property
    def journal_bytes(self) -> int:
        return self._journal.size

    @property
    def lagging(self) -> int:
        """Sessions whose file could not be written; the journal and the memory hold their records."""
        return len(self._lagging)

    def _run(self) -> None:
        while self._running:
            entries, commands = self._next_batch()
            if entries:
                self._commit(entries)
            for command in commands:
                command()
            self._checkpoint_when_due()

    def _next_batch(self) -> tuple[list[Entry], list[Command]]:
        """Wait for something, and take what else is there; a command ends the batch."""
        entries: list[Entry] = []
        item = self._queue.get()
        size = 0
        while True:
            if not isinstance(item, Entry):
                return entries, [item]
            if item.generation == self._generation:
                entries.append(item)
                size += len(item.journal_line)
            if size >= MAX_BATCH:
                return entries, []
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return entries, []

    def _commit(self, entries: list[Entry]) -> None:
        data = b"".join([entry.journal_line for entry in entries])
        begun = time.perf_counter()
        try:
            self._journal.commit(data)
        except OSError as error:
            log.error("the disk refuses: %s", error.strerror)
            self.counters.refusals += 1
            self._generation += 1
            self._listener.refused(error, self._generation)
            return
        self._count(len(entries), len(data), time.perf_counter() - begun)
        self._listener.committed(entries)
        written = [entry for entry in entries if self._store(entry)]
        self._listener.written(written)

    def _count(self, appends: int, size: int, seconds: float) -> None:
        counters = self.counters
        counters.batches += 1
        counters.appends += appends
        counters.bytes += size
        counters.sync_seconds += seconds
        counters.slowest_sync = max(counters.slowest_sync, seconds)

    # ------------------------------------------------------------ files

    def _store(self, entry: Entry) -> bool:
        """Bring one entry into its file; what can't be written now waits in order behind what lags already."""
        identity = entry.key.identity
        self.changes.add_keys(entry.keys)
        if identity in self._lagging:
            self._lagging[identity].append(entry)
            self._catch_up(identity)
            return False
        try:
            self._write(entry)
        except OSError as error:
            log.error("a session's file could not be written: %s", error.strerror)
            self.counters.file_errors += 1
            self._lagging[identity] = [entry]
            return False
        return True

    def _write(self, entry: Entry) -> None:
        if entry.after is None:
            self.files.remove(entry.key)
            self.changes.remove(entry.key.identity)
        else:
            self.changes.add(Row(entry.after, write_entry(self.files, entry)))
        if entry.ends or entry.after is None:
            self._checkpoint_wanted = True

    def _catch_up(self, identity: str) -> None:
        waiting = self._lagging[identity]
        written = []
        try:
            while waiting:
                self._write(waiting[0])
                written.append(waiting.pop(0))
        except OSError as error:
            log.error("a session's file still can't be written: %s", error.strerror)
            self.counters.file_errors += 1
        if not waiting:
            del self._lagging[identity]
        self._listener.written(written)

    # ------------------------------------------------------------ checkpoint

    def _checkpoint_when_due(self) -> None:
        due = (
            self._journal.size >= self._checkpoint_bytes
            or len(self.changes) >= self._checkpoint_sessions
            or self._checkpoint_wanted
        )
        if due and not self._stopping and not self._checkpointing and time.monotonic() >= self._not_before:
            self.checkpoint(lambda error: None)

    def checkpoint(self, then: Callable[[Exception | None], None]) -> None:
        """Begin a checkpoint in its own thread; `then` is called, on the writer's, when it is over. A command."""
        if self._checkpointing:
            self._checkpoint_next.append(then)
            return
        self._checkpoint_wanted = False
        try:
            for identity in list(self._lagging):
                self._catch_up(identity)
            if self._lagging:
                raise OSError(5, "some sessions' files can't be written")
            self._journal.rotate()
        except OSError as error:
            self._failed(error)
            then(error)
            return
        changes, self.changes = self.changes, Changes()
        changes.take(self.files)
        old = [path for _, path in parts(self._journal.path.parent)]
        self._checkpointing = True
        self._checkpointer.start(
            changes, lambda error: self.put(lambda: self._checkpoint_over(changes, old, then, error))
        )

    def _checkpoint_over(
        self, changes: Changes, old: list[Path], then: Callable[[Exception | None], None], error: Exception | None
    ) -> None:
        self._checkpointing = False
        if error is None:
            self.counters.checkpoints += 1
            self._cut(old)
            self._listener.checkpointed(changes)
        else:
            changes.update(self.changes)
            self.changes = changes
            self._failed(error)
        then(error)
        waiting, self._checkpoint_next = self._checkpoint_next, []
        for one in waiting:
            self.checkpoint(one)

    def _cut(self, old: list[Path]) -> None:
        try:
            self._journal.cut_parts(old)
        except OSError as error:
            log.warning("a part of the journal could not be removed: %s", error.strerror)

    def _failed(self, error: Exception) -> None:
        self.counters.checkpoint_errors += 1
        self._not_before = time.monotonic() + RETRY_SECONDS
        log.error("a checkpoint failed; the journal is kept: %s", error)

    # ------------------------------------------------------------ the end

    def stop(self, then: Callable[[Exception | None], None]) -> None:
        """Write the last checkpoint, remove the journal, and end the thread. A command."""

        def over(error: Exception | None) -> None:
            if error is None and not self._lagging:
                try:
                    self._journal.remove()
                except OSError as problem:
                    error = problem
            self._journal.close()
            self.files.close()
            self._running = False
            then(error)

        self._stopping = True
        self.checkpoint(over)


def write_entry(files: SessionFiles, entry: Entry) -> int:
    """One entry into its file; the file's new length. Raises OSError."""
    if entry.ends:
        return files.replace(entry.key, entry.tombstone)
    if entry.begins:
        return files.replace(entry.key, entry.head + entry.content) if _exists(files, entry) else _append(files, entry)
    return _append(files, entry)


def _append(files: SessionFiles, entry: Entry) -> int:
    return files.append(entry.key, entry.head, entry.content)


def _exists(files: SessionFiles, entry: Entry) -> bool:
    try:
        return files.path(entry.key).stat().st_size > 0
    except FileNotFoundError:
        return False

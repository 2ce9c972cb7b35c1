"""The one thread that commits: batches to the journal, then checkpoints; the files are the filer's.

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
from agent.sessions.courier import Command, Parcel
from agent.sessions.entry import Entry
from agent.sessions.filer import Filer
from agent.sessions.filing import Filing
from agent.sessions.journal import Journal, parts

log = logging.getLogger(__name__)

MAX_BATCH = 4 << 20
RETRY_SECONDS = 5.0
Then: TypeAlias = Callable[[Exception | None], None]
Refill: TypeAlias = Callable[[set[Path]], None]


class Listener(Protocol):
    """What the store hears, on the writer's thread; it hands it over to the event loop."""

    def committed(self, entries: Sequence[Entry]) -> None:
        """Durable."""
        ...

    def refused(self, error: Exception, generation: int) -> None:
        """Nothing that isn't committed will be."""
        ...

    def checkpointed(self, changes: Changes) -> None:
        """In the index."""
        ...


class Counters:
    """Figures since the start, for metrics."""

    def __init__(self) -> None:
        self.batches = self.appends = self.bytes = self.refusals = 0
        self.checkpoints = self.checkpoint_errors = 0
        self.sync_seconds = self.slowest_sync = 0.0

    def count(self, appends: int, size: int, seconds: float) -> None:
        self.batches += 1
        self.appends += appends
        self.bytes += size
        self.sync_seconds += seconds
        self.slowest_sync = max(self.slowest_sync, seconds)


def _look() -> None:
    """A command that does nothing: behind it the writer sees whether a checkpoint is due."""


class Writer:
    """`put` from any thread; everything else happens on its own."""

    def __init__(
        self, journal: Journal, filing: Filing, checkpointer: Checkpointer, listener: Listener, *,
        refill: Refill, checkpoint_bytes: int, checkpoint_sessions: int,
    ) -> None:  # fmt: skip
        self.filing = filing
        self.counters = Counters()
        self._journal = journal
        self._checkpointer = checkpointer
        self._listener = listener
        self._refill = refill
        self._limits = (checkpoint_bytes, checkpoint_sessions)
        self._queue: queue.SimpleQueue[Parcel | Command] = queue.SimpleQueue()
        self._unfinished: Parcel | None = None
        """What was too much for one batch."""
        self._thread = threading.Thread(target=self._run, name="sessions-writer", daemon=True)
        self._filer = Filer(filing, lambda: self.put(_look))
        self._generation = 0
        self._running = True
        self._stopping = False
        self._checkpointing = False
        self._waiting: list[Then] = []
        self._unsynced: set[Path] = set()
        self._not_before = 0.0

    def start(self) -> None:
        self._filer.start()
        self._thread.start()

    def put(self, item: Parcel | Command) -> None:
        """Entries to come for, or a command to run between two batches."""
        self._queue.put(item)

    def join(self) -> None:
        self._thread.join()

    @property
    def journal_bytes(self) -> int:
        return self._journal.size

    def _run(self) -> None:
        while self._running:
            self._one_batch()
        self._filer.stop()

    def _one_batch(self) -> None:
        """A function of its own, so that nothing of a batch is held while the next one is waited for."""
        entries, commands = self._next_batch()
        if entries:
            self._commit(entries)
        for command in commands:
            self._obey(command)
        self._checkpoint_when_due()

    def _next_batch(self) -> tuple[list[Entry], list[Command]]:
        """Wait for something, and take what else is there; a command ends the batch."""
        entries: list[Entry] = []
        item: Parcel | Command = self._unfinished or self._queue.get()
        self._unfinished = None
        size = 0
        while isinstance(item, Parcel):
            for entry in item.take():
                if entry.generation == self._generation:
                    entries.append(entry)
                    size += len(entry.journal_line)
                    if size >= MAX_BATCH:
                        self._unfinished = item
                        return entries, []
            if self._queue.empty():
                return entries, []
            item = self._queue.get()  # there is one, and nobody else takes any
        return entries, [item]

    def _commit(self, entries: list[Entry]) -> None:
        data = b"".join([entry.journal_line for entry in entries])
        begun = time.perf_counter()
        try:
            self._journal.commit(data)
        except Exception as error:  # whatever it is, nothing is acknowledged and the thread lives
            log.error("the disk refuses: %s", error)
            self.counters.refusals += 1
            self._generation += 1
            self._listener.refused(error, self._generation)
            return
        self.counters.count(len(entries), len(data), time.perf_counter() - begun)
        self._listener.committed(entries)
        self._filer.add(entries)

    def _obey(self, command: Command) -> None:
        try:
            with self._filer.quiet():
                command()
        except Exception:  # the thread must live: without it nothing is ever acknowledged again
            log.exception("a command of the writer failed")

    # ------------------------------------------------------------ checkpoint

    def _checkpoint_when_due(self) -> None:
        due = (
            self._journal.size >= self._limits[0]
            or len(self.filing.changes) >= self._limits[1]
            or self.filing.erased
        )  # fmt: skip
        if due and not self._stopping and not self._checkpointing and time.monotonic() >= self._not_before:
            self._obey(lambda: self.checkpoint(lambda error: None))

    def checkpoint(self, then: Then) -> None:
        """Begin a checkpoint in its own thread; `then` is called, on the writer's, when it is over. A command."""
        if self._checkpointing:
            self._waiting.append(then)
            return
        try:
            self.filing.catch_up()
            if self._unsynced:
                self._refill(self._unsynced)
                self._unsynced = set()
            self._journal.rotate()
        except Exception as error:  # of the disk or the index; the journal stays as it is
            self._failed(error)
            then(error)
            return
        changes = self.filing.take_changes()
        old = [path for _, path in parts(self._journal.path.parent)]
        self._checkpointing = True
        self._checkpointer.start(
            changes, lambda error: self.put(lambda: self._checkpoint_over(changes, old, then, error))
        )

    def _checkpoint_over(self, changes: Changes, old: list[Path], then: Then, error: Exception | None) -> None:
        self._checkpointing = False
        if error is None:
            self.counters.checkpoints += 1
            self._cut(old)
            self._listener.checkpointed(changes)
        else:
            self._unsynced |= changes.unsynced
            self.filing.give_back(changes)
            self._failed(error)
        then(error)
        waiting, self._waiting = self._waiting, []
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

    def stop(self, then: Then) -> None:
        """Write the last checkpoint, remove the journal, and end the thread. A command."""
        self._stopping = True
        self.checkpoint(lambda error: self._end(then, error))

    def _end(self, then: Then, error: Exception | None) -> None:
        if error is None:
            try:
                self._journal.remove()
            except OSError as problem:
                error = problem
        self._journal.close()
        self.filing.files.close()
        self._running = False
        then(error)

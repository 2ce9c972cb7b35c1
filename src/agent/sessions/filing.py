"""From the journal into the files: each committed entry is added to its session's file.

Used by the filer's thread behind the batches, by the writer while that one stands still, and by recovery. A file that
can't be written now is no reason to refuse anything: its entries wait here, in their order, and are safe in the
journal, which is not cut before they have arrived.
"""

import logging
from collections.abc import Callable, Iterable, Sequence

from agent.sessions.checkpoint import Changes
from agent.sessions.entry import Entry
from agent.sessions.index import Row
from agent.sessions.session import SessionFiles
from agent.sessions.summary import Summary

log = logging.getLogger(__name__)


class Filing:
    """`changes` is what the next checkpoint has to bring into the index."""

    def __init__(self, files: SessionFiles, changes: Changes, written: Callable[[list[Entry]], None]) -> None:
        self.files = files
        self.changes = changes
        self.errors = 0
        self.erased = False
        """Something was deleted: the next checkpoint should come soon, for the journal still has it."""
        self._written = written
        self._lagging: dict[str, list[Entry]] = {}

    @property
    def lagging(self) -> int:
        """Sessions whose file could not be written."""
        return len(self._lagging)

    def store(self, entries: Iterable[Entry]) -> None:
        """Bring entries into their files, or remember them for later. What one session has goes in one write."""
        together: dict[str, list[Entry]] = {}
        for entry in entries:
            together.setdefault(entry.key.identity, []).append(entry)
            self.changes.add_keys(entry.keys)
        written: list[Entry] = []
        for identity, waiting in together.items():
            lagging = self._lagging.get(identity)
            if lagging is not None:
                lagging += waiting
                self._catch_up(identity)
            elif not self._bring(waiting, written):
                self._lagging[identity] = waiting
        if written:
            self._written(written)

    def _bring(self, waiting: list[Entry], written: list[Entry]) -> bool:
        """Move entries of one session from `waiting` to `written`; False where the disk refuses one."""
        try:
            while waiting:
                run = waiting[: _run_of(waiting)]
                self._write(run)
                written += run
                del waiting[: len(run)]
        except Exception as error:  # whatever it is, the record is in the journal: the file can wait
            log.error("a session's file could not be written: %s", error)
            self.errors += 1
            return False
        return True

    def _write(self, run: Sequence[Entry]) -> None:
        last = run[-1]
        if last.after is None:
            self.files.remove(last.key)
            self.changes.remove(last.key.identity)
        else:
            self.changes.add(Row(last.after, write_entries(self.files, run)))
        self.erased = self.erased or last.ends or last.after is None

    def catch_up(self) -> None:
        """Try again what lags. Raises OSError where something still does."""
        for identity in list(self._lagging):
            self._catch_up(identity)
        if self._lagging:
            raise OSError(5, f"the files of {len(self._lagging)} sessions can't be written")

    def _catch_up(self, identity: str) -> None:
        written: list[Entry] = []
        if self._bring(self._lagging[identity], written):
            del self._lagging[identity]
        self._written(written)

    def adopt(self, summary: Summary) -> None:
        """A file was found changed by other hands: cut its torn tail and put it into the index."""
        if summary.key.identity in self.changes.rows:
            return
        try:
            self.changes.add(Row(summary, self.files.repair(summary.key)))
        except OSError as error:
            log.warning("a session's file could not be repaired: %s", error.strerror)

    def take_changes(self) -> Changes:
        """What a checkpoint is to write; from here on the next one collects."""
        changes, self.changes = self.changes, Changes()
        changes.take(self.files)
        self.erased = False
        return changes

    def give_back(self, changes: Changes) -> None:
        """The checkpoint of `changes` failed."""
        changes.update(self.changes)
        self.changes = changes


def _run_of(entries: Sequence[Entry]) -> int:
    """How many of the entries, from the first on, can go into the file in one write: nothing ends between them."""
    if entries[0].ends or entries[0].after is None:
        return 1
    return next((place for place, entry in enumerate(entries) if place and not entry.goes_on), len(entries))


def write_entries(files: SessionFiles, run: Sequence[Entry]) -> int:
    """A run of entries into the file of their session; the file's new length. Raises OSError."""
    first = run[0]
    if first.ends:
        return files.replace(first.key, first.tombstone)
    content = first.content if len(run) == 1 else b"".join([entry.content for entry in run])
    if first.begins and first.before is not None and files.has_content(first.key):
        return files.replace(first.key, first.head + content)
    return files.append(first.key, lambda: first.head, content, begins=first.begins)

"""From the journal into the files: each committed entry is added to its session's file.

Used by the writer's thread behind every batch, and by recovery. A file that can't be
written now is no reason to refuse anything: its entries wait here, in their order, and
are safe in the journal, which is not cut before they have arrived.
"""

import logging
from collections.abc import Callable, Iterable

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
        """Bring entries into their files, or remember them for later."""
        written = [entry for entry in entries if self._store(entry)]
        if written:
            self._written(written)

    def _store(self, entry: Entry) -> bool:
        identity = entry.key.identity
        self.changes.add_keys(entry.keys)
        if identity in self._lagging:
            self._lagging[identity].append(entry)
            self._catch_up(identity)
            return False
        try:
            self._write(entry)
        except Exception as error:  # whatever it is, the record is in the journal: the file can wait
            log.error("a session's file could not be written: %s", error)
            self.errors += 1
            self._lagging[identity] = [entry]
            return False
        return True

    def _write(self, entry: Entry) -> None:
        if entry.after is None:
            self.files.remove(entry.key)
            self.changes.remove(entry.key.identity)
        else:
            self.changes.add(Row(entry.after, write_entry(self.files, entry)))
        self.erased = self.erased or entry.ends or entry.after is None

    def catch_up(self) -> None:
        """Try again what lags. Raises OSError where something still does."""
        for identity in list(self._lagging):
            self._catch_up(identity)
        if self._lagging:
            raise OSError(5, f"the files of {len(self._lagging)} sessions can't be written")

    def _catch_up(self, identity: str) -> None:
        waiting = self._lagging[identity]
        written = []
        try:
            while waiting:
                self._write(waiting[0])
                written.append(waiting.pop(0))
        except Exception as error:  # as above
            log.error("a session's file still can't be written: %s", error)
            self.errors += 1
        if not waiting:
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


def write_entry(files: SessionFiles, entry: Entry) -> int:
    """One entry into its file; the file's new length. Raises OSError."""
    if entry.ends:
        return files.replace(entry.key, entry.tombstone)
    if entry.begins and _has_content(files, entry):
        if entry.before is not None:
            return files.replace(entry.key, entry.head + entry.content)
        files.set_aside(entry.key)
    return files.append(entry.key, lambda: entry.head, entry.content)


def _has_content(files: SessionFiles, entry: Entry) -> bool:
    try:
        return files.path(entry.key).stat().st_size > 0
    except FileNotFoundError:
        return False

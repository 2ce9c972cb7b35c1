"""What happens before a store serves: the index opened or made again, the journal replayed into the files.

A file is first cut back to the length that the last checkpoint synced, because behind it
a power cut may have left anything; then the journal's records are added again. Doing so
twice gives the same, so a crash in here does no harm. Nothing is synced but the journal
itself: it stays until the next checkpoint.
"""

import errno
import logging
import sqlite3
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import orjson

from agent.ports.sessions import SessionHead
from agent.sessions.checkpoint import KEYS_KEPT_SECONDS, Changes
from agent.sessions.disk import Disk
from agent.sessions.entry import Entry
from agent.sessions.filing import write_entries
from agent.sessions.index import Index, IndexDamaged, Row, Used
from agent.sessions.journal import Journal, JournalRefused, parts, read_part
from agent.sessions.keys_used import keys_used
from agent.sessions.lines import NewerFormat, OtherKey, decode, head_line, read_head, record_of
from agent.sessions.reader import SessionReader
from agent.sessions.session import SessionFiles, keep_aside
from agent.sessions.summary import Summary, begun, folded
from bus.events import JsonObject
from bus.keys import SessionKey

log = logging.getLogger(__name__)


class Recovery:
    """Used once, on one thread, with the folder's lock held."""

    def __init__(
        self, disk: Disk, folder: Path, journal: Journal, files: SessionFiles, index: Index, clock: Callable[[], float]
    ) -> None:  # fmt: skip
        self._disk = disk
        self._folder = folder
        self._journal = journal
        self._files = files
        self._index = index
        self._clock = clock
        self._live: dict[str, Summary | None] = {}
        self._first: dict[str, int] = {}
        self._found_keys: list[Used] = []
        self.changes = Changes()
        self.touched = 0

    def run(self) -> None:
        """Raises JournalRefused, OSError."""
        try:
            self._run()
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"the index of sessions cannot be written: {error}") from error

    def _run(self) -> None:
        entries = self._read_journal()
        self._open_index(entries)
        first = self._index.last_touched() + 1
        self.touched = first + len(entries)
        for number, entry in _by_session(entries):
            self._replay(entry, first + number)
        for identity, summary in self._live.items():
            if summary is not None and identity in self.changes.rows:
                self.changes.add(Row(summary.after_crash(), self.changes.rows[identity].size))

    def _read_journal(self) -> list[JsonObject]:
        """All entries in their order; the current part is cut to its good length and open."""
        (self._folder / "journal.new").unlink(missing_ok=True)
        entries: list[JsonObject] = []
        for _, path in parts(self._folder):
            entries += read_part(self._disk, path)[0]
        current, good, torn = read_part(self._disk, self._journal.path)
        if torn:
            keep_aside(self._disk, self._journal.path, torn)
            log.warning("the journal ended in a torn line of %d bytes, kept in journal.jsonl.corrupt", len(torn))
        self._journal.open(good)
        return entries + current

    # ------------------------------------------------------------ the journal's records

    def refill(self, paths: set[Path]) -> None:
        """Write anew what a failed sync may have lost of these files: from the last checkpoint and the journal.

        While the store serves, on the writer's thread. Raises OSError, JournalRefused.
        """
        for path in [path for _, path in parts(self._folder)] + [self._journal.path]:
            for item in read_part(self._disk, path)[0]:
                key = _key_of(item)
                if key is not None and self._files.path(key) in paths:
                    self._replay(item, 0)

    def _replay(self, item: JsonObject, touched: int) -> None:
        key = _key_of(item)
        if key is None:
            log.warning("the journal holds an entry without a session")
            return
        try:
            before = self._known(key, begins="head" in item)
        except NewerFormat as error:
            raise JournalRefused(f"records of {key.text!r} wait in the journal, but {error.message}") from error
        if item.get("forget"):
            self._files.remove(key)
            self.changes.remove(key.identity)
            self._live[key.identity] = None
            return
        try:
            self._append(key, before, item, touched)
        except ValueError as error:
            log.warning("records of a session could not be brought back: %s", error)

    def _known(self, key: SessionKey, *, begins: bool) -> Summary | None:
        """The summary before this entry; the first time, the file is cut back to it.

        A session that the index doesn't know began after the last checkpoint, so the journal
        has all of it; where its beginning is missing there, the file is all there is.
        """
        identity = key.identity
        if identity not in self._live:
            row = self._index.get(identity)
            if row is None and not begins:
                row = scan(self._disk, self._files.path(key), key)
            self._files.trim(key, row.size if row else 0)
            self._live[identity] = row.summary if row else None
        return self._live[identity]

    def _append(self, key: SessionKey, before: Summary | None, item: JsonObject, touched: int) -> None:
        known = before.record_seq if before else 0
        found = ((one, record_of(one)) for one in item["records"])
        new = [(orjson.dumps(one), record) for one, record in found if record and record.seq > known]
        if not new:
            return
        fresh = [record for _, record in new]
        head = read_head(orjson.dumps(item["head"]), key) if "head" in item else None
        start = begun(head, before) if head and (before is None or before.deleted) else before or _nameless(key)
        after = folded(start, fresh, touched)
        entry = Entry(
            key, head=head_line(after.head() if after.deleted else start.head()), before=before, after=after,
            lines=tuple(line for line, _ in new),
        )  # fmt: skip
        self.changes.add(Row(after, write_entries(self._files, (entry,))))
        self.changes.add_keys(keys_used(key, fresh))
        self._live[key.identity] = after

    # ------------------------------------------------------------ the index

    def _open_index(self, entries: list[JsonObject]) -> None:
        try:
            self._index.open()
        except IndexDamaged as error:
            for item in entries:
                self._note_first(item)
            self._index.create()
            count = self._fill_index()
            if count or str(error) != "missing":
                log.warning("the index of sessions was made again from %d files (%s)", count, error)

    def _fill_index(self) -> int:
        """From the files, a thousand at a time; how many."""
        oldest_key, count, files = self._clock() - KEYS_KEPT_SECONDS, 0, self._scanned()
        while rows := list(islice(files, 1000)):
            count += len(rows)
            self._index.write(rows, (), self._found_keys, forget_before=oldest_key)
            self._found_keys.clear()
        self._index.order_by_age()
        return count

    def _note_first(self, item: JsonObject) -> None:
        records = item.get("records")
        if records and isinstance(records[0].get("seq"), int):
            identity = f"{item.get('scope')}\0{item.get('session_key')}"
            self._first.setdefault(identity, records[0]["seq"])

    def _scanned(self) -> Iterator[Row]:
        for path in sorted(self._folder.glob("??/*.jsonl")):
            try:
                row = scan(self._disk, path, None, self._first, self._found_keys)
            except (NewerFormat, OtherKey, OSError) as error:
                log.warning("%s was left out of the index: %s", path.name, error)
                continue
            if row is None:
                log.warning("%s was left out of the index: its first line is no session's", path.name)
            elif self._files.path(row.summary.key) != path:
                log.warning("%s was left out of the index: it lies under another session's name", path.name)
            else:
                yield row


def scan(
    disk: Disk, path: Path, key: SessionKey | None, stop_before: dict[str, int] | None = None,
    keys: list[Used] | None = None,
) -> Row | None:  # fmt: skip
    """What a file says of its session, read from end to end; None where its head is none.

    The length is that of the good lines below `stop_before[identity]` (what the journal has
    is taken from the journal). Raises NewerFormat, OtherKey, OSError.
    """
    with SessionReader(disk, path, key) as reader:
        if reader.head is None:
            if key is None or reader.size == 0:
                return None
            summary = _nameless(key)
        else:
            summary = begun(reader.head, None)
        stop = (stop_before or {}).get(summary.key.identity)
        size = 0
        for offset, raw in reader.offsets():
            record = decode(raw)
            if record is not None and stop is not None and record.seq >= stop:
                break
            size = offset + len(raw) + 1
            if record is None:
                continue
            summary = folded(summary, (record,))
            if keys is not None:
                keys.extend(keys_used(summary.key, (record,)))
    return Row(summary.after_crash(), min(size, reader.size))


def _by_session(entries: list[JsonObject]) -> list[tuple[int, JsonObject]]:
    """With their places, the entries of one session together, so that its file is opened once."""
    together: dict[SessionKey | None, list[tuple[int, JsonObject]]] = {}
    for number, item in enumerate(entries):
        together.setdefault(_key_of(item), []).append((number, item))
    return [one for of_a_session in together.values() for one in of_a_session]


def _key_of(item: JsonObject) -> SessionKey | None:
    text, scope = item.get("session_key"), item.get("scope")
    return SessionKey(text, scope) if isinstance(text, str) and isinstance(scope, str) else None


def _nameless(key: SessionKey) -> Summary:
    """A session whose first line is lost: the key tells what it can."""
    words = key.text.split(":")
    agent_id, channel = (words[1], words[2]) if len(words) >= 5 and words[0] == "agent" else ("main", "")
    peer = words[4] if channel else ""
    head = SessionHead(key=key, agent_id=agent_id, channel=channel, peer_id=peer, owner=key.scope, created_at="")
    return begun(head, None)

"""A compact index of all sessions and of the idempotency keys of the last 24 h, in SQLite.

It is a copy: every row can be made again from the files, and is when the index is
missing, damaged or of another schema. A row is true of the first `size` bytes of its
file; what came later is in the journal. It is written at checkpoints only, by one
thread; any thread may read, each over a connection of its own.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from agent.ports.sessions import Duplicate
from agent.sessions.summary import Summary
from bus.keys import SessionKey

log = logging.getLogger(__name__)

SCHEMA = 1
CHECKED_BYTES = 128 << 20
"""Up to this size the whole index is checked at the start (28 MB, 100,000 sessions: 30 ms)."""
_CREATE = """
CREATE TABLE sessions (identity BLOB PRIMARY KEY, owner TEXT NOT NULL, channel TEXT NOT NULL, touched INTEGER NOT NULL,
    shown INTEGER NOT NULL, listed INTEGER NOT NULL, open INTEGER NOT NULL, updated_at TEXT NOT NULL,
    size INTEGER NOT NULL, summary BLOB NOT NULL) WITHOUT ROWID;
CREATE INDEX by_owner ON sessions (owner, touched) WHERE shown = 1;
CREATE INDEX by_age ON sessions (touched) WHERE shown = 1;
CREATE INDEX open_turns ON sessions (touched) WHERE open = 1;
CREATE INDEX ephemeral ON sessions (updated_at) WHERE listed = 0;
CREATE TABLE keys (user TEXT NOT NULL, key TEXT NOT NULL, message_id TEXT NOT NULL, identity BLOB NOT NULL,
    seq INTEGER NOT NULL, content_hash TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (user, key)) WITHOUT ROWID;
CREATE INDEX keys_by_age ON keys (at);
"""


class Used(NamedTuple):
    """An idempotency key and what it was used for. `at` in seconds since the epoch."""

    user: str
    key: str
    duplicate: Duplicate
    at: float


class Row(NamedTuple):
    summary: Summary
    size: int


class IndexDamaged(Exception):
    """The index can't be read and has to be made again from the files."""


class Index:
    """The file `index.sqlite`. Open it with `open`, which raises IndexDamaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine = threading.local()
        self._connections: list[sqlite3.Connection] = []
        self._guard = threading.Lock()

    def open(self) -> None:
        """Check the file and its schema. Raises IndexDamaged, OSError."""
        if self._path.is_symlink() or not self._path.exists():
            raise IndexDamaged("missing")
        try:
            version = self._connection().execute("PRAGMA user_version").fetchone()[0]
            if version != SCHEMA:
                raise IndexDamaged(f"schema {version}, not {SCHEMA}")
            if self._path.stat().st_size < CHECKED_BYTES:
                found = self._connection().execute("PRAGMA quick_check(1)").fetchone()
                if found[0] != "ok":
                    raise IndexDamaged(found[0])
            self._connection().execute("SELECT count(*) FROM (SELECT 1 FROM sessions LIMIT 1)").fetchone()
        except sqlite3.Error as error:
            raise IndexDamaged(str(error)) from error

    def create(self) -> None:
        """Begin anew with an empty one. Raises OSError, sqlite3.Error."""
        self.close()
        for name in (self._path.name, f"{self._path.name}-wal", f"{self._path.name}-shm"):
            self._path.with_name(name).unlink(missing_ok=True)
        self._path.touch(mode=0o600)
        connection = self._connection()
        connection.executescript(_CREATE)
        connection.execute(f"PRAGMA user_version = {SCHEMA}")
        connection.commit()

    def _connection(self) -> sqlite3.Connection:
        found: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if found is None:
            found = sqlite3.connect(self._path, timeout=10, check_same_thread=False)
            found.execute("PRAGMA journal_mode = WAL")
            found.execute("PRAGMA synchronous = FULL")
            found.execute("PRAGMA cache_size = -512")
            found.execute("PRAGMA secure_delete = ON")
            self._mine.connection = found
            with self._guard:
                self._connections.append(found)
        return found

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._guard:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.close()
        self._mine = threading.local()

    # ------------------------------------------------------------ writing (one thread)

    def write(self, rows: Iterable[Row], gone: Iterable[str], keys: Iterable[Used], *, forget_before: float) -> None:
        """Take over `rows` and `keys`; let go of `gone`, and of keys used before `forget_before`. Durable on return."""
        connection = self._connection()
        with connection:
            connection.executemany("INSERT OR REPLACE INTO sessions VALUES (?,?,?,?,?,?,?,?,?,?)", map(_columns, rows))
            connection.executemany("DELETE FROM sessions WHERE identity = ?", [(_blob(one),) for one in gone])
            connection.executemany("INSERT OR REPLACE INTO keys VALUES (?,?,?,?,?,?,?)", map(_key_columns, keys))
            connection.execute("DELETE FROM keys WHERE at < ?", (forget_before,))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def order_by_age(self) -> None:
        """Number the sessions anew by when they were last changed; for an index made from files."""
        connection = self._connection()
        with connection:
            oldest_first = connection.execute("SELECT identity FROM sessions ORDER BY updated_at").fetchall()
            connection.executemany(
                "UPDATE sessions SET touched = ? WHERE identity = ?",
                ((number, identity) for number, (identity,) in enumerate(oldest_first, 1)),
            )

    def copy_to(self, destination: Path) -> None:
        """A consistent copy, without a log beside it."""
        destination.touch(mode=0o600)
        copy = sqlite3.connect(destination)
        try:
            self._connection().backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE").fetchall()
        finally:
            copy.close()

    # ------------------------------------------------------------ reading (any thread)

    @contextmanager
    def _reading(self, query: str, values: tuple[object, ...] = ()) -> Iterator[sqlite3.Cursor]:
        cursor = self._connection().execute(query, values)
        try:
            yield cursor
        finally:
            cursor.close()

    def get(self, identity: str) -> Row | None:
        query = "SELECT summary, touched, size FROM sessions WHERE identity = ?"
        cursor = self._connection().execute(query, (_blob(identity),))
        found = cursor.fetchone()
        cursor.close()
        return None if found is None else _row(_blob(identity), *found)

    def listed(self, owner: str | None, channel: str | None, before: int | None) -> Iterator[Summary]:
        """Sessions that are shown, the last touched first, from those touched before `before`."""
        query = "SELECT identity, summary, touched, size FROM sessions WHERE shown = 1"
        values: list[object] = []
        for clause, value in (("owner = ?", owner), ("channel = ?", channel), ("touched < ?", before)):
            if value is not None:
                query += f" AND {clause}"
                values.append(value)
        with self._reading(query + " ORDER BY touched DESC", tuple(values)) as cursor:
            for columns in cursor:
                yield _row(*columns).summary

    def open_turns(self) -> list[str]:
        with self._reading("SELECT identity FROM sessions WHERE open = 1") as cursor:
            return [_text(identity) for (identity,) in cursor]

    def owned_by(self, owner: str) -> list[str]:
        """Also the unlisted, but not the deleted."""
        query = "SELECT identity, summary, touched, size FROM sessions WHERE owner = ? AND (shown = 1 OR listed = 0)"
        with self._reading(query, (owner,)) as cursor:
            return [_text(columns[0]) for columns in cursor if not _row(*columns).summary.deleted]

    def unlisted_before(self, moment: str) -> list[str]:
        query = "SELECT identity FROM sessions WHERE listed = 0 AND updated_at < ?"
        with self._reading(query, (moment,)) as cursor:
            return [_text(identity) for (identity,) in cursor]

    def key_used(self, user: str, key: str) -> Used | None:
        query = "SELECT message_id, identity, seq, content_hash, at FROM keys WHERE user = ? AND key = ?"
        with self._reading(query, (user, key)) as cursor:
            found = cursor.fetchone()
        if found is None:
            return None
        message_id, identity, seq, content_hash, at = found
        session = SessionKey.from_identity(_text(identity))
        return Used(
            user, key, Duplicate(message_id=message_id, session=session, seq=seq, content_hash=content_hash), at
        )

    def rows(self) -> Iterator[Row]:
        """Every row, in no order."""
        with self._reading("SELECT identity, summary, touched, size FROM sessions") as cursor:
            for columns in cursor:
                yield _row(*columns)

    def last_touched(self) -> int:
        with self._reading("SELECT max(touched) FROM (SELECT max(touched) AS touched FROM sessions WHERE shown = 1"
                           " UNION ALL SELECT max(touched) FROM sessions WHERE open = 1)") as cursor:  # fmt: skip
            found = cursor.fetchone()[0]
        return int(found or 0)

    def count(self) -> int:
        with self._reading("SELECT count(*) FROM sessions WHERE shown = 1") as cursor:
            return int(cursor.fetchone()[0])


def _blob(identity: str) -> bytes:
    return identity.encode("utf-8", "surrogatepass")


def _text(identity: bytes) -> str:
    return identity.decode("utf-8", "surrogatepass")


def _columns(row: Row) -> tuple[object, ...]:
    one = row.summary
    shown = int(one.listed and not one.deleted)
    return (_blob(one.key.identity), one.owner, one.channel, one.touched, shown, int(one.listed),
            int(bool(one.open_turns)), one.updated_at, row.size, one.to_bytes())  # fmt: skip


def _key_columns(used: Used) -> tuple[object, ...]:
    what = used.duplicate
    return (used.user, used.key, what.message_id, _blob(what.session.identity), what.seq, what.content_hash, used.at)


def _row(identity: bytes, packed: bytes, touched: int, size: int) -> Row:
    summary = Summary.from_bytes(SessionKey.from_identity(_text(identity)), packed)
    summary.touched = touched
    return Row(summary.after_crash(), size)

"""The bridge's database: one SQLite file in WAL mode, one thread that writes, reads in place.

The ledger, challenges, grants and definitions of tools are kept in it. Writing is a queue: what waits goes into
one transaction. `write` does not wait (`synchronous=NORMAL`: it survives the end of the process after some
milliseconds, the loss of power soon); `commit` waits for the disk. A file that is damaged is put aside and begun
anew, which is remembered; one of a newer version is refused. It knows nothing of what the tables mean.
"""

import asyncio
import logging
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from bridge.errors import Overloaded
from bridge.settling import settle_soon

_log = logging.getLogger(__name__)
VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    key TEXT PRIMARY KEY, id TEXT NOT NULL, content TEXT NOT NULL, tool TEXT NOT NULL, state TEXT NOT NULL,
    kind TEXT, answer BLOB, effect TEXT NOT NULL DEFAULT 'none', created REAL NOT NULL, updated REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS challenges (
    challenge TEXT PRIMARY KEY, call_id TEXT NOT NULL, tool TEXT NOT NULL, content TEXT NOT NULL, user TEXT NOT NULL,
    shown TEXT NOT NULL, risk TEXT NOT NULL, expires REAL NOT NULL, local INTEGER NOT NULL, decision TEXT, by TEXT,
    spent INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
    user TEXT NOT NULL, tool TEXT NOT NULL, session TEXT NOT NULL, since REAL NOT NULL,
    PRIMARY KEY (user, tool, session)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS terminal_grants (
    user TEXT NOT NULL, tool TEXT NOT NULL, session TEXT NOT NULL, PRIMARY KEY (user, tool, session)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS definitions (tool TEXT PRIMARY KEY, hash TEXT NOT NULL)
WITHOUT ROWID;
"""
_MIGRATIONS: dict[int, str] = {}
"""Statements that bring a file from the version of the key to the next one."""

_GATHER_SECONDS = 0.005
"""What nobody waits for is handed over together: waking the thread for each would cost more than writing it."""

Statement: TypeAlias = tuple[str, Sequence[Any]]


class NewerDatabase(Exception):
    """The file was written by a newer version of this program."""


class _Commit:
    __slots__ = ("future", "loop", "number", "statements", "synced")

    def __init__(self, number: int, statements: Sequence[Statement], synced: bool) -> None:
        self.number = number
        self.statements = statements
        self.synced = synced
        self.loop: asyncio.AbstractEventLoop | None = None
        self.future: asyncio.Future[None] | None = None

    def finish(self, error: Exception | None) -> None:
        if self.loop is not None and self.future is not None:
            refused = None if error is None else Overloaded(f"the bridge's database can't be written: {error}")
            settle_soon(self.loop, self.future, refused)


class Database:
    """One file, opened by `open`. `damaged_at` is when a damaged predecessor was put aside, or None."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged_at: float | None = None
        self.committed = 0
        """The number of the last write that is in the file (or was refused)."""
        self._submitted = 0
        self._gathered: list[_Commit] = []
        self._queue: queue.SimpleQueue[list[_Commit] | None] = queue.SimpleQueue()
        self._reader = self._open()
        self._thread = threading.Thread(target=self._write, name="bridge-database", daemon=True)
        self._thread.start()

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows, at once. What `write` was given may not be in them yet."""
        return self._reader.execute(sql, parameters).fetchall()

    def write(self, *statements: Statement) -> int:
        """Write soon, without waiting; the number of this write. An error is logged."""
        self._submitted += 1
        self._gathered.append(_Commit(self._submitted, statements, synced=False))
        if len(self._gathered) == 1:
            try:
                asyncio.get_running_loop().call_later(_GATHER_SECONDS, self.flush)
            except RuntimeError:  # no loop: a command, or the end of one
                self.flush()
        return self._submitted

    def flush(self) -> None:
        """Hand over what was gathered."""
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    async def commit(self, *statements: Statement, synced: bool = True) -> None:
        """Write, and wait until it (and all that was written before) is in the file; `synced`: on the disk.

        Raises Overloaded where the disk refuses.
        """
        self._submitted += 1
        item = _Commit(self._submitted, statements, synced)
        item.loop = asyncio.get_running_loop()
        item.future = item.loop.create_future()
        self._gathered.append(item)
        self.flush()
        await item.future

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """One statement at once, from another process or before the loop runs; the number of rows it changed."""
        with self._reader:
            return self._reader.execute(sql, parameters).rowcount

    def close(self) -> None:
        """Write what waits, and close."""
        self.flush()
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._reader.close()

    # ------------------------------------------------------------ opening

    def _open(self) -> sqlite3.Connection:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if not self.path.exists():
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))
        try:
            connection = self._connect()
            self._prepare(connection)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError:
            self._set_aside()
            connection = self._connect()
            self._prepare(connection)
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('damaged_at', ?)", (str(time.time()),))
            connection.commit()
        row = connection.execute("SELECT value FROM meta WHERE name = 'damaged_at'").fetchone()
        self.damaged_at = float(row[0]) if row else None
        return connection

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=5.0, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    def _prepare(self, connection: sqlite3.Connection) -> None:
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            connection.close()
            raise NewerDatabase(f"{self.path} was written by a newer ai-bridge (version {found}): update this one")
        if self.path.stat().st_size < 64 * 1024 * 1024:
            verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if verdict != "ok":
                connection.close()
                raise sqlite3.DatabaseError(verdict)
        for version in range(max(found, 1), VERSION):
            connection.executescript(_MIGRATIONS[version])
        connection.executescript(_SCHEMA)
        connection.execute(f"PRAGMA user_version={VERSION}")
        connection.commit()

    def _set_aside(self) -> None:
        stamp = time.strftime("%Y%m%d-%H%M%S")
        for suffix in ("", "-wal", "-shm"):
            source = Path(f"{self.path}{suffix}")
            if source.exists():
                source.rename(f"{self.path}.damaged-{stamp}{suffix}")
        os.close(os.open(self.path, os.O_CREAT | os.O_RDWR, 0o600))

    # ------------------------------------------------------------ the writer's thread

    def _write(self) -> None:
        connection = self._connect()
        connection.isolation_level = None
        ended = False
        full = False
        while not ended:
            items: list[_Commit] = []
            gathered = self._queue.get()
            while gathered is not None:
                items += gathered
                if len(items) >= 500 or self._queue.empty():
                    break
                gathered = self._queue.get()
            ended = gathered is None
            synced = any(item.synced for item in items)
            error: Exception | None = None
            try:
                if synced != full:
                    connection.execute(f"PRAGMA synchronous={'FULL' if synced else 'NORMAL'}")
                    full = synced
                connection.execute("BEGIN IMMEDIATE")
                for item in items:
                    for sql, parameters in item.statements:
                        connection.execute(sql, parameters)
                connection.execute("COMMIT")
            except Exception as failure:  # also what SQLite can't take as a value: whoever waits must hear of it
                error = failure
                _log.error("the bridge's database can't be written: %s", failure)
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
            if items:
                self.committed = items[-1].number
            for item in items:
                item.finish(error)
        connection.close()

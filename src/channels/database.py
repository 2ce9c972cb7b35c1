"""The channels' SQLite file: what goes out, the turns people wait for, and what was seen, across restarts.

One connection, used by one thread of its own, so that the event loop never waits
for the disk. WAL with `synchronous=NORMAL`: everything written survives kill -9.
A file that is damaged is put aside and a new one begun. `outbox.py` and
`ledger.py` are its only readers.
"""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
log = logging.getLogger(__name__)

VERSION = 2
_SCHEMA = """
CREATE TABLE deliveries (
  delivery_id TEXT PRIMARY KEY, channel TEXT NOT NULL, kind TEXT NOT NULL, place TEXT NOT NULL, chat TEXT NOT NULL,
  thread TEXT, turn TEXT NOT NULL, number INTEGER NOT NULL, reply_to TEXT, reference TEXT NOT NULL, owner TEXT NOT NULL,
  want TEXT, shown TEXT, platform_id TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, in_flight INTEGER NOT NULL,
  placeholder INTEGER NOT NULL, tried_at REAL, attempts INTEGER NOT NULL, not_before REAL NOT NULL, at REAL NOT NULL,
  number_after INTEGER, number_until INTEGER, doubts INTEGER NOT NULL DEFAULT 0);
CREATE INDEX deliveries_open ON deliveries (channel, state);
CREATE INDEX deliveries_turn ON deliveries (turn);
CREATE INDEX deliveries_reference ON deliveries (reference) WHERE reference <> '';
CREATE TABLE turns (
  message_id TEXT PRIMARY KEY, channel TEXT NOT NULL, session TEXT NOT NULL, place TEXT NOT NULL, chat TEXT NOT NULL,
  thread TEXT, reply_to TEXT, requester TEXT NOT NULL, user TEXT NOT NULL, language TEXT NOT NULL, mode TEXT NOT NULL,
  accepted INTEGER NOT NULL, final TEXT, at REAL NOT NULL);
CREATE INDEX turns_channel ON turns (channel);
CREATE TABLE people (session TEXT PRIMARY KEY, requester TEXT NOT NULL, user TEXT NOT NULL, language TEXT NOT NULL);
CREATE TABLE seen (key TEXT PRIMARY KEY, message_id TEXT NOT NULL, digest TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX seen_at ON seen (at);
CREATE TABLE approvals (
  token TEXT PRIMARY KEY, approval_id TEXT NOT NULL, channel TEXT NOT NULL, requester TEXT NOT NULL, user TEXT NOT NULL,
  language TEXT NOT NULL, session TEXT NOT NULL, question TEXT NOT NULL, delivery_id TEXT NOT NULL, at REAL NOT NULL);
CREATE INDEX approvals_id ON approvals (approval_id);
CREATE TABLE notes (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_FROM_1 = """
ALTER TABLE deliveries ADD COLUMN number_after INTEGER;
ALTER TABLE deliveries ADD COLUMN number_until INTEGER;
ALTER TABLE deliveries ADD COLUMN doubts INTEGER NOT NULL DEFAULT 0;
"""


class Database:
    """The connection and its thread. Open it before use and close it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="channels-db")
        self._connection: sqlite3.Connection | None = None

    async def open(self) -> None:
        """Open or make the file. Raises RuntimeError where a newer version of this program wrote it."""
        await self.run(lambda _: None)

    async def close(self) -> None:
        """Close the file after what was asked before."""
        if self._connection is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._connection.close)
            self._connection = None
        self._thread.shutdown(wait=True)

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """`work(connection)` in the file's thread, in one transaction. Raises sqlite3.Error."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._transact, work)

    def _transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = _open(self._path)
        with self._connection:
            return work(self._connection)


def _open(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _connect(path)
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise
        aside = path.with_name(f"{path.name}.corrupt-{int(time.time())}")
        path.replace(aside)
        log.warning("the channels' file was damaged (%s) and was put aside as %s", error, aside.name)
        return _connect(path)


def _connect(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0), 0o600))
    connection = sqlite3.connect(path, check_same_thread=False, timeout=5)
    try:
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise RuntimeError(f"{path.name} was written by a newer version of this program")
        if found < VERSION:
            steps = _FROM_1 if found == 1 else _SCHEMA
            connection.executescript(f"BEGIN;{steps}PRAGMA user_version={VERSION};COMMIT;")
        if connection.execute("PRAGMA quick_check(1)").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("its pages do not fit together")
    except BaseException:  # nobody else has the connection yet, to close it
        connection.close()
        raise
    return connection

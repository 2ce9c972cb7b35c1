"""Approvals on disk: what is being asked, what was allowed for longer, where bridges are lent to groups; keyed calls.

One SQLite file under `$GATEWAY_HOME`, mode 0600. Each write is synced before it returns. It decides nothing.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bus.errors import Overloaded
from gateway.database import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS approvals (
    approval_id TEXT PRIMARY KEY, user TEXT NOT NULL, call_id TEXT NOT NULL, tool TEXT NOT NULL,
    digest TEXT NOT NULL, arguments BLOB NOT NULL, risk TEXT NOT NULL, expires REAL NOT NULL, place TEXT,
    session TEXT, message_id TEXT NOT NULL, state TEXT NOT NULL, decision TEXT, by TEXT
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
    grant_id TEXT PRIMARY KEY, user TEXT NOT NULL, tool TEXT NOT NULL, scope TEXT NOT NULL, session TEXT NOT NULL,
    since TEXT NOT NULL, bridge_id TEXT NOT NULL, own_tool TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lent (user TEXT NOT NULL, session TEXT NOT NULL, PRIMARY KEY (user, session)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    user TEXT NOT NULL, key TEXT NOT NULL, content TEXT NOT NULL, state TEXT NOT NULL, answer BLOB, at REAL NOT NULL,
    PRIMARY KEY (user, key)
) WITHOUT ROWID;
"""
VERSION = 1


class Store:
    """The file at `path`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = open_database(path, _SCHEMA, VERSION, synchronous="FULL")
        # Its own connection: in WAL mode a reader waits for no writer, nor the event loop for the disk.
        self._reading = threading.Lock()
        self._reader = open_database(path, _SCHEMA, VERSION)
        self._reader.execute("PRAGMA query_only=ON")

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """What is committed. It waits for no write."""
        with self._reading:
            return self._reader.execute(sql, parameters).fetchall()

    def write(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with self._lock, self._connection:
            self._connection.execute(sql, parameters)

    async def put(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """`write`, without holding up the event loop. Raises Overloaded where the disk refuses."""
        try:
            await asyncio.to_thread(self.write, sql, parameters)
        except sqlite3.Error as error:
            raise Overloaded("this can't be kept on the disk", retry_after_ms=5000) from error

    def close(self) -> None:
        with self._reading:
            self._reader.close()
        with self._lock:
            self._connection.close()

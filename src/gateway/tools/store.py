"""Approvals on disk: what is being asked, what was allowed for longer, where bridges are lent to groups; keyed calls.

One SQLite file under `$GATEWAY_HOME`, mode 0600. Each write is synced before it returns. It decides nothing.
"""

import asyncio
import os
import sqlite3
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bus.errors import Overloaded

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
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        found = self._connection.execute("PRAGMA user_version").fetchone()[0]
        if found > VERSION:
            raise RuntimeError(f"{path} was written by a newer version of the gateway")
        self._connection.executescript(_SCHEMA)
        self._connection.execute(f"PRAGMA user_version={VERSION}")
        self._connection.commit()

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._connection.execute(sql, parameters).fetchall()

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
        with self._lock:
            self._connection.close()

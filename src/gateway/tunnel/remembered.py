"""Bridges that were here before, on disk: name, catalogue, the public names that were given.

One SQLite file under `$GATEWAY_HOME`; a bridge that is away stays listed by it, after a restart too. It knows
no connection. Every method blocks for a moment; the directory calls the writing ones from a thread.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bus.events import JsonObject
from gateway.database import open_database

_SCHEMA = """
CREATE TABLE IF NOT EXISTS bridges (
    user TEXT NOT NULL, bridge_id TEXT NOT NULL, name TEXT NOT NULL, token_id TEXT NOT NULL, since REAL NOT NULL,
    catalogue BLOB NOT NULL, names BLOB NOT NULL, pending BLOB NOT NULL, revoked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (user, bridge_id)
) WITHOUT ROWID;
"""
VERSION = 1


@dataclass(slots=True, kw_only=True)
class Row:
    """One bridge. `names` is own → public, `pending` what it has to be told when it comes back."""

    user: str
    bridge_id: str
    name: str
    token_id: str
    since: float
    catalogue: JsonObject = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    pending: list[JsonObject] = field(default_factory=list)
    revoked: bool = False


class Remembered:
    """The file at `path`, mode 0600."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._connection = open_database(path, _SCHEMA, VERSION)

    def load(self) -> list[Row]:
        with self._lock:
            rows = self._connection.execute(
                "SELECT user, bridge_id, name, token_id, since, catalogue, names, pending, revoked FROM bridges"
            ).fetchall()
        return [
            Row(
                user=user, bridge_id=bridge_id, name=name, token_id=token_id, since=since,
                catalogue=orjson.loads(catalogue), names=orjson.loads(names), pending=orjson.loads(pending),
                revoked=bool(revoked),
            )
            for user, bridge_id, name, token_id, since, catalogue, names, pending, revoked in rows
        ]  # fmt: skip

    def save(self, rows: Sequence[Row]) -> None:
        with self._lock, self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO bridges VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        row.user, row.bridge_id, row.name, row.token_id, row.since, orjson.dumps(row.catalogue),
                        orjson.dumps(row.names), orjson.dumps(row.pending), int(row.revoked),
                    )
                    for row in rows
                ],
            )  # fmt: skip

    def forget(self, user: str, bridge_id: str) -> None:
        with self._lock, self._connection:
            self._connection.execute("DELETE FROM bridges WHERE user = ? AND bridge_id = ?", (user, bridge_id))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

"""An SQLite file of the gateway's under `$GATEWAY_HOME`. It knows no table: whoever opens one brings its schema."""

import os
import sqlite3
from pathlib import Path
from typing import Literal


def open_database(
    path: Path, schema: str, version: int, *, synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
) -> sqlite3.Connection:
    """The file at `path`, mode 0600, with the tables of `schema`; any thread may use it, one at a time.

    With `FULL` each commit is synced before it returns; with `NORMAL` a power cut may take the last ones back.
    Raises OSError, sqlite3.Error, RuntimeError where a newer version of the gateway wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={synchronous}")
        if connection.execute("PRAGMA user_version").fetchone()[0] > version:
            raise RuntimeError(f"{path} was written by a newer version of the gateway")
        connection.executescript(schema)
        connection.execute(f"PRAGMA user_version={version}")
        connection.commit()
    except BaseException:  # nobody else has the connection yet, to close it
        connection.close()
        raise
    return connection

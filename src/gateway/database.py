"""An SQLite file of the gateway's under `$GATEWAY_HOME`. It knows no table: whoever opens one brings its schema."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Literal

from gateway.identity.document import CorruptDocument


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Says of a damaged file which it is, as CorruptDocument. It isn't begun anew: what people allowed and spent
    is in it, and that is theirs to give up."""
    try:
        yield
    except sqlite3.OperationalError:
        raise  # locked, or the disk is full: the file is not to blame
    except sqlite3.DatabaseError as error:
        raise CorruptDocument(f"{path} is damaged ({error}): restore it from a backup, or move it away") from error


def check_database(path: Path) -> None:
    """Look through the file at `path`, whoever uses it meanwhile. Raises CorruptDocument; what can't be looked at
    now is not judged."""
    try:
        with naming(path), closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise sqlite3.DatabaseError(found)
    except sqlite3.OperationalError:
        return


def open_database(
    path: Path, schema: str, version: int, *, synchronous: Literal["NORMAL", "FULL"] = "NORMAL"
) -> sqlite3.Connection:
    """The file at `path`, mode 0600, with the tables of `schema`; any thread may use it, one at a time.

    With `FULL` each commit is synced before it returns; with `NORMAL` a power cut may take the last ones back.
    Raises OSError, CorruptDocument, sqlite3.OperationalError, RuntimeError where a newer version of the gateway
    wrote it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    connection = sqlite3.connect(path, timeout=5.0, check_same_thread=False)
    try:
        with naming(path):
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

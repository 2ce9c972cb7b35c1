"""The gateway's SQLite files: who may read them, what is in them the second time, and a file of a newer version."""

import stat
from pathlib import Path

import pytest

from gateway.database import open_database

SCHEMA = "CREATE TABLE IF NOT EXISTS things (name TEXT)"


def test_it_is_private_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new" / "things.db"
    first = open_database(path, SCHEMA, 1, synchronous="FULL")
    with first:
        first.execute("INSERT INTO things VALUES ('kept')")
    assert first.execute("PRAGMA synchronous").fetchone() == (2,)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    first.close()
    second = open_database(path, SCHEMA, 1)
    assert second.execute("SELECT name FROM things").fetchall() == [("kept",)]
    second.close()


def test_a_file_of_a_newer_version_is_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "things.db"
    open_database(path, SCHEMA, 2).close()
    before = path.read_bytes()
    with pytest.raises(RuntimeError, match="newer version"):
        open_database(path, SCHEMA + "; CREATE TABLE more (x)", 1)
    assert path.read_bytes() == before and [each.name for each in tmp_path.iterdir()] == ["things.db"]

"""The writer's thread lives through whatever it is given."""

from pathlib import Path

import pytest

from bridge.database import Database
from bridge.errors import Overloaded


@pytest.mark.parametrize("value", ["\ud800", 2**70, object()])
async def test_a_value_that_no_database_takes_is_refused_and_the_next_is_written(tmp_path: Path, value: object) -> None:
    database = Database(tmp_path / "ledger.sqlite")
    with pytest.raises(Overloaded):
        await database.commit(("INSERT INTO definitions VALUES (?, 'hash')", (value,)))
    await database.commit(("INSERT INTO definitions VALUES ('tool', 'hash')", ()))
    assert database.read("SELECT tool FROM definitions") == [("tool",)]
    database.close()

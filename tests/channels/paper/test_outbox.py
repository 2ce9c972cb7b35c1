"""The channels' file: damaged, newer, and what comes back from it."""

import sqlite3
import time
from pathlib import Path

import pytest

from channels.base import Address
from channels.database import Database
from channels.items import Body, Item
from channels.outbox import Outbox

HERE = Address(kind="direct", chat="42")


async def test_a_damaged_file_is_put_aside(tmp_path: Path) -> None:
    path = tmp_path / "channels.db"
    path.write_bytes(b"SQLite format 3\x00" + b"\xff" * 4096)
    database = Database(path)
    await database.open()
    assert await Outbox(database).failed() == []
    await database.close()
    assert list(tmp_path.glob("channels.db.corrupt-*"))
    assert path.stat().st_mode & 0o777 == 0o600


async def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "channels.db"
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version=99")
    connection.close()
    database = Database(path)
    with pytest.raises(RuntimeError, match="newer version"):
        await database.open()
    await database.close()


async def test_items_come_back_as_they_were(tmp_path: Path) -> None:
    database = Database(tmp_path / "channels.db")
    outbox, now = Outbox(database), time.monotonic()
    first = Item(address=HERE, want=Body(markdown="a" * 500), state="refused", reason="blocked")
    later = Item(address=HERE, want=Body(markdown="b"), not_before=now + 600, attempts=2, in_flight=True, tried_at=now)
    gone = Item(address=HERE, want=None, platform_id="9", shown=Body(markdown="c"))
    sent = Item(address=HERE, want=Body(markdown="d"), state="sent", platform_id="10")
    await outbox.save("paper", [first, later, gone, sent])
    back = await outbox.load("paper")
    assert [item.delivery_id for item in back] == [later.delivery_id, gone.delivery_id]
    assert abs(back[0].not_before - (now + 600)) < 2
    assert (back[0].in_flight, back[0].attempts, back[1].want, back[1].platform_id) == (True, 2, None, "9")
    listed = await outbox.failed()
    assert [(row["delivery_id"], row["state"], len(row["preview"])) for row in listed] == [
        (first.delivery_id, "refused", 120)
    ]
    assert await outbox.load("other") == []
    await outbox.prune()
    assert len(await outbox.failed()) == 1
    await database.close()

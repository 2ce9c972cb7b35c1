"""The channels' file across versions of the program."""

import sqlite3
from pathlib import Path

import pytest

from channels.base import Address
from channels.database import VERSION, Database
from channels.items import Body, Item
from channels.outbox import Outbox

FIRST = """
CREATE TABLE deliveries (
  delivery_id TEXT PRIMARY KEY, channel TEXT NOT NULL, kind TEXT NOT NULL, place TEXT NOT NULL, chat TEXT NOT NULL,
  thread TEXT, turn TEXT NOT NULL, number INTEGER NOT NULL, reply_to TEXT, reference TEXT NOT NULL, owner TEXT NOT NULL,
  want TEXT, shown TEXT, platform_id TEXT, state TEXT NOT NULL, reason TEXT NOT NULL, in_flight INTEGER NOT NULL,
  placeholder INTEGER NOT NULL, tried_at REAL, attempts INTEGER NOT NULL, not_before REAL NOT NULL, at REAL NOT NULL);
CREATE TABLE turns (message_id TEXT PRIMARY KEY, channel TEXT NOT NULL);
INSERT INTO deliveries VALUES ('dlv_1', 'telegram', 'notice', 'direct', '42', NULL, '', 0, NULL, '', '',
  '{"markdown": "kept", "plain": false, "final": true}', NULL, NULL, 'queued', '', 0, 0, NULL, 0, 0.0, 1.0);
PRAGMA user_version=1;
"""


def version(path: Path) -> int:
    connection = sqlite3.connect(path)
    try:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.attack(72)
async def test_a_file_of_the_first_version_is_taken_over_with_what_waits_in_it(tmp_path: Path) -> None:
    path = tmp_path / "channels.db"
    connection = sqlite3.connect(path)
    connection.executescript(FIRST)
    connection.close()
    database = Database(path)
    outbox = Outbox(database)
    (found,) = await outbox.load("telegram")
    assert (found.want, found.after, found.until, found.doubts) == (Body(markdown="kept"), None, None, 0)
    found.after, found.doubts = 7, 1
    await outbox.save("telegram", [found])
    await database.close()
    assert version(path) == VERSION
    database = Database(path)
    (again,) = await Outbox(database).load("telegram")
    assert (again.after, again.doubts) == (7, 1)
    await database.close()


@pytest.mark.attack(72)
async def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "channels.db"
    connection = sqlite3.connect(path)
    connection.execute(f"PRAGMA user_version={VERSION + 1}")
    connection.close()
    database = Database(path)
    with pytest.raises(RuntimeError, match="newer version"):
        await database.open()
    await database.close()
    assert version(path) == VERSION + 1


async def test_everything_of_an_item_is_kept(tmp_path: Path) -> None:
    database = Database(tmp_path / "channels.db")
    outbox = Outbox(database)
    stray = Item(address=Address(kind="group", chat="-1", thread="7"), want=None, kind="stray", placeholder=True,
                 shown=Body(markdown="…", plain=True, final=False), after=5, until=40, doubts=2)  # fmt: skip
    await outbox.save("telegram", [stray])
    (found,) = await outbox.load("telegram")
    for name in ("address", "want", "kind", "placeholder", "shown", "after", "until", "doubts", "delivery_id"):
        assert getattr(found, name) == getattr(stray, name)
    await database.close()


@pytest.mark.attack(72)
async def test_a_file_that_is_damaged_in_the_middle_is_put_aside_too(tmp_path: Path) -> None:
    """Its head is whole, and what is behind it would be found only by whoever needs it: then nothing is taken in."""
    path = tmp_path / "channels.db"
    database = Database(path)
    here = Address(kind="direct", chat="42")
    items = [Item(address=here, want=Body(markdown="x" * 900), state="refused") for _ in range(200)]
    await Outbox(database).save("paper", items)
    await database.close()
    data = bytearray(path.read_bytes())
    for page in range(8, len(data) // 4096 - 2):
        data[page * 4096 : page * 4096 + 200] = b"\xa5" * 200
    path.write_bytes(data)
    database = Database(path)
    await Outbox(database).save("paper", items[:1])
    assert len(await Outbox(database).failed()) == 1
    await database.close()
    assert list(tmp_path.glob("channels.db.corrupt-*"))

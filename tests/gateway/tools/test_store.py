"""The file of the desk: who reads waits for nobody who writes."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path

from gateway.tools.store import Store


class SlowDisk:
    """Lets no write of the store end until it is told to."""

    def __init__(self, store: Store) -> None:
        self.writing, self.go_on = threading.Event(), threading.Event()
        store._connection.create_function("stand", 0, self._stand)

    def _stand(self) -> int:
        self.writing.set()
        self.go_on.wait(10)
        return 1


async def test_a_read_on_the_event_loop_does_not_wait_for_a_write_that_the_disk_holds_up(tmp_path: Path) -> None:
    store = Store(tmp_path / "approvals.db")
    disk = SlowDisk(store)
    await store.put("INSERT INTO lent VALUES ('alice', 's')")
    writing = asyncio.create_task(store.put("INSERT INTO lent SELECT 'bob', stand()"))
    await asyncio.to_thread(disk.writing.wait, 5)
    threading.Timer(1.0, disk.go_on.set).start()
    begun = time.monotonic()
    assert store.read("SELECT user FROM lent") == [("alice",)]
    assert time.monotonic() - begun < 0.5
    disk.go_on.set()
    await writing
    assert sorted(store.read("SELECT user FROM lent")) == [("alice",), ("bob",)]
    store.close()


def test_a_reader_writes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path / "approvals.db")
    try:
        store.read("INSERT INTO lent VALUES ('alice', 's') RETURNING user")
    except sqlite3.OperationalError as error:
        assert "readonly" in str(error)
    else:
        raise AssertionError("it was written")
    finally:
        store.close()

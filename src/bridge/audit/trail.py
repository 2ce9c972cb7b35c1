"""The audit log for whoever must not wait: a thread that writes records in batches, one sync for all of them.

`note` returns at once, `intent` when the record is on the disk. Order is kept. Above are `calls.py` on the bridge
and the guard of the gateway; below is `AuditLog`, twice on the same file: with and without fsync.
"""

import asyncio
import logging
import queue
import threading
from pathlib import Path
from typing import Any

from bridge.audit.log import AuditFailed, AuditLog

_BATCH = 200
_MOST_WAITING = 100_000
_log = logging.getLogger(__name__)


class _Item:
    __slots__ = ("event", "fields", "future", "loop")

    def __init__(
        self, event: str, fields: dict[str, Any], loop: asyncio.AbstractEventLoop | None,
        future: "asyncio.Future[None] | None",
    ) -> None:  # fmt: skip
        self.event = event
        self.fields = fields
        self.loop = loop
        self.future = future


class AuditTrail:
    """The log at `path`. Raises AuditFailed where it can't be opened. `close` writes what waits."""

    def __init__(self, path: Path) -> None:
        self.lost = 0
        """Notes that could not be written."""
        self._synced = AuditLog(path)
        self._quick = AuditLog(path, fsync=False)
        self._queue: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    async def intent(self, event: str, **fields: Any) -> None:
        """Write and sync. Raises AuditFailed: then what it was to witness must not happen."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._queue.put(_Item(event, fields, loop, future))
        await future

    def note(self, event: str, **fields: Any) -> None:
        """Write soon. Never raises."""
        if self._queue.qsize() < _MOST_WAITING:
            self._queue.put(_Item(event, fields, None, None))
        else:
            self.lost += 1

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._synced.close()
        self._quick.close()

    def _work(self) -> None:
        ended = False
        while not ended:
            batch = [self._queue.get()]
            while len(batch) < _BATCH and not self._queue.empty():
                batch.append(self._queue.get())
            items = [item for item in batch if item is not None]
            ended = len(items) < len(batch)
            self._write(items)

    def _write(self, items: list[_Item]) -> None:
        last = max((index for index, item in enumerate(items) if item.future is not None), default=-1)
        failed: AuditFailed | None = None
        waiting: list[_Item] = []
        for index, item in enumerate(items):
            log = self._synced if index == last else self._quick
            try:
                log.append(item.event, **item.fields)
            except AuditFailed as error:
                failed = error
                if item.future is None:
                    self.lost += 1
                    _log.error("an audit record could not be written: %s", error)
            if item.future is not None:
                waiting.append(item)
            if index == last:
                # One sync stands for all before it; where any of them failed, none is promised.
                for settled in waiting:
                    _settle(settled, failed)
                waiting, failed = [], None


def _settle(item: _Item, error: AuditFailed | None) -> None:
    loop, future = item.loop, item.future
    if loop is None or future is None:
        return

    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:
        pass  # the loop is gone: nobody waits any more

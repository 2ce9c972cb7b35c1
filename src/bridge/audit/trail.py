"""The audit log for whoever must not wait: a thread that writes records in batches, one write and one sync for all.

`note` returns at once, `intent` when the record is on the disk. Order is kept. Above are `execution.py` on the
bridge and the guard of the gateway; below is `AuditLog`.
"""

import asyncio
import logging
import queue
import threading
from typing import Any, TypeAlias

from bridge.audit.log import AuditFailed, AuditLog
from bridge.settling import settle_soon

_BATCH = 500
_MOST_WAITING = 100_000
_GATHER_SECONDS = 0.01
"""Notes are handed over together: waking the thread for each would cost more than writing it."""
_log = logging.getLogger(__name__)


_Waiter: TypeAlias = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]
_Item: TypeAlias = tuple[str, dict[str, Any], _Waiter | None]
"""Event, fields, and who waits for it."""


class AuditTrail:
    """Writes to `log`. `close` writes what waits and closes the log."""

    def __init__(self, log: AuditLog) -> None:
        self.lost = 0
        """Notes that could not be written."""
        self._audit = log
        self._gathered: list[_Item] = []
        self._queue: queue.SimpleQueue[list[_Item] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="audit", daemon=True)
        self._thread.start()

    async def intent(self, event: str, **fields: Any) -> None:
        """Write and sync. Raises AuditFailed: then what it was to witness must not happen."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        self._gathered.append((event, fields, (loop, future)))
        self._flush()
        await future

    def note(self, event: str, **fields: Any) -> None:
        """Write soon. Never raises."""
        if len(self._gathered) >= _MOST_WAITING or self._queue.qsize() >= _MOST_WAITING // _BATCH:
            self.lost += 1
            return
        self._gathered.append((event, fields, None))
        if len(self._gathered) == 1:
            try:
                asyncio.get_running_loop().call_later(_GATHER_SECONDS, self._flush)
            except RuntimeError:  # no loop: a command, or the end of one
                self._flush()
        elif len(self._gathered) >= _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._gathered:
            gathered, self._gathered = self._gathered, []
            self._queue.put(gathered)

    def close(self) -> None:
        self._flush()
        self._queue.put(None)
        self._thread.join(timeout=10)
        self._audit.close()

    # ------------------------------------------------------------ the thread

    def _work(self) -> None:
        ended = False
        while not ended:
            gathered = self._queue.get()
            items: list[_Item] = []
            while gathered is not None:
                items += gathered
                if len(items) >= _BATCH or self._queue.empty():
                    break
                gathered = self._queue.get()
            ended = gathered is None
            if items:
                self._write(items)

    def _write(self, items: list[_Item]) -> None:
        waiting = [item[2] for item in items if item[2] is not None]
        try:
            self._audit.append_many([item[:2] for item in items], sync=bool(waiting))
        except AuditFailed:
            for item in items:  # one of them may be what can't be written: each by itself
                self._one(item)
            return
        for waiter in waiting:
            settle_soon(*waiter)

    def _one(self, item: _Item) -> None:
        event, fields, waiter = item
        failed: AuditFailed | None = None
        try:
            self._audit.append(event, **fields)
        except AuditFailed as error:
            failed = error
            if waiter is None:
                self.lost += 1
                _log.error("an audit record could not be written: %s", error)
        if waiter is not None:
            settle_soon(*waiter, failed)

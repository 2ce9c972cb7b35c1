"""What requests over HTTP are told that still wait when the gateway stops: 503, in the form of their route.

Above are the listener, which enters every request and says when, and the routes, which enter once more where
their answer has a form of its own. WebSockets are told by their close code instead.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from bus.errors import Overloaded

RETRY_MS = 1000


class Stopping(Overloaded):
    """The gateway is stopping."""

    def __init__(self, *, repeatable: bool = True) -> None:
        """`repeatable`: it can be asked again without being done twice."""
        if repeatable:
            super().__init__("the gateway is stopping: ask again in a moment", retry_after_ms=RETRY_MS)
        else:
            super().__init__("the gateway is stopping: what you asked for may have been taken in", effect="unknown")


class UnderWay:
    """The requests that are being worked on."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()
        self._told: set[asyncio.Task[object]] = set()
        self._stopped = False

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Raises Stopping out of whatever is awaited in here when the gateway stops. Enter again to catch it there."""
        task = asyncio.current_task()
        assert task is not None
        if self._stopped:
            raise Stopping
        outermost = task not in self._tasks
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._told:
                raise
            self._told.discard(task)
            task.uncancel()
            raise Stopping from None
        finally:
            if outermost:
                self._tasks.discard(task)
                self._told.discard(task)

    def stop(self) -> None:
        """Tell all that wait, and whoever comes from now on."""
        self._stopped = True
        for task in self._tasks - self._told:
            self._told.add(task)
            task.cancel()

"""Writing down what became of bridges, off the event loop. Below the directory, above `remembered.py`.

What changes while something is being written is written together: thousands may come or go in one moment. A thread
for each would wake the loop as often, through the pipe that also tells it of signals: full, it loses a SIGTERM.
"""

import asyncio
from collections.abc import Callable

from gateway.tunnel.bridge import Bridge
from gateway.tunnel.ports import Trail
from gateway.tunnel.remembered import Remembered, Row

_CLOSING_SECONDS = 5.0
_GATHER_SECONDS = 0.05
"""What happens within it is written together: a crowd that comes back should not have a thread at work all the time."""


class Saver:
    """`row_of` says what is written of a bridge. `close` waits for what is under way, and closes the file."""

    def __init__(self, remembered: Remembered, row_of: Callable[[Bridge], Row], trail: Trail) -> None:
        self._remembered = remembered
        self._row_of = row_of
        self._trail = trail
        self._changed: dict[tuple[str, str], Bridge] = {}
        self._gone: list[Bridge] = []
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    def save(self, bridge: Bridge) -> None:
        """Write it soon, as it is then."""
        self._changed[bridge.user, bridge.bridge_id] = bridge
        self._begin()

    def forget(self, bridge: Bridge) -> None:
        """Take it out of the file."""
        self._changed.pop((bridge.user, bridge.bridge_id), None)
        self._gone.append(bridge)
        self._begin()

    async def close(self) -> None:
        """What the disk refused before gets its last chance."""
        if self._changed or self._gone:
            self._begin()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=_CLOSING_SECONDS)
        self._closed = True
        self._remembered.close()

    def _begin(self) -> None:
        if self._task is None and not self._closed:
            self._task = asyncio.get_running_loop().create_task(self._write())
            self._task.add_done_callback(self._written)

    async def _write(self) -> None:
        while self._changed or self._gone:
            await asyncio.sleep(_GATHER_SECONDS)
            gone, self._gone = self._gone, []
            changed, self._changed = self._changed, {}
            try:
                for bridge in gone:
                    await asyncio.to_thread(self._remembered.forget, bridge.user, bridge.bridge_id)
                rows = [self._row_of(bridge) for bridge in changed.values()]
                await asyncio.to_thread(self._remembered.save, rows)
            except BaseException:  # cancelled, too: what was not written is still to be
                self._keep_for_later(gone, changed)
                raise

    def _keep_for_later(self, gone: list[Bridge], changed: dict[tuple[str, str], Bridge]) -> None:
        """The disk refused: with the next change, or in the end, it is tried again."""
        left_since = {(bridge.user, bridge.bridge_id) for bridge in self._gone}
        still = {place: bridge for place, bridge in changed.items() if place not in left_since}
        self._gone, self._changed = [*gone, *self._gone], still | self._changed

    def _written(self, task: "asyncio.Task[None]") -> None:
        self._task = None
        if task.cancelled():
            return
        if task.exception() is not None:
            self._trail.note("tunnel.not_saved", reason=type(task.exception()).__name__)
        elif self._changed or self._gone:  # it came when the task had ended, and this was not yet known
            self._begin()

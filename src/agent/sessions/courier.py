"""From the writer's thread to the event loop: what became of the entries."""

import asyncio
from collections.abc import Sequence

from agent.sessions.checkpoint import Changes
from agent.sessions.entry import Entry
from agent.sessions.overlay import Overlay


class Courier:
    """The writer's `Listener`. `generation` goes up with every refusal; entries of an older one are void."""

    def __init__(self, loop: asyncio.AbstractEventLoop, overlay: Overlay) -> None:
        self._loop = loop
        self._overlay = overlay
        self.generation = 0

    def committed(self, entries: Sequence[Entry]) -> None:
        self._loop.call_soon_threadsafe(self._overlay.committed, entries)

    def refused(self, error: Exception, generation: int) -> None:
        self._loop.call_soon_threadsafe(self._refuse, error, generation)

    def _refuse(self, error: Exception, generation: int) -> None:
        self.generation = generation
        self._overlay.refused(error)

    def written(self, entries: Sequence[Entry]) -> None:
        self._loop.call_soon_threadsafe(self._overlay.written, entries)

    def checkpointed(self, changes: Changes) -> None:
        self._loop.call_soon_threadsafe(self._overlay.checkpointed, changes)

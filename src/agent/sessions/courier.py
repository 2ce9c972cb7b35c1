"""Between the event loop and the writer's thread: entries there, and back what became of them.

What is appended within a moment goes over together: each sync takes its time, and a thread that
wakes takes the interpreter from the loop. A message waits for the record of its turn's attempt,
which begins at once and says so.
"""

import asyncio
from collections.abc import Callable, Sequence

from agent.sessions.checkpoint import Changes
from agent.sessions.entry import Entry
from agent.sessions.overlay import Overlay


class Courier:
    """The writer's `Listener`. `generation` goes up with every refusal; entries of an older one are void."""

    def __init__(self, loop: asyncio.AbstractEventLoop, overlay: Overlay) -> None:
        self._loop = loop
        self._overlay = overlay
        self.generation = 0
        self._outgoing: list[Entry] = []
        self.put: Callable[[list[Entry]], None]
        """The writer's; set when there is one."""

    def send(self, entry: Entry) -> None:
        """Hand it over when what begins with it has had its first turn of the loop."""
        self._outgoing.append(entry)
        if len(self._outgoing) == 1:
            self._loop.call_soon(self._loop.call_soon, self.hand_over)

    def hand_over(self) -> None:
        """Now: a command of the writer must not overtake what was appended before it."""
        if self._outgoing:
            entries, self._outgoing = self._outgoing, []
            self.put(entries)

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

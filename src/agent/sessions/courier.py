"""Between the event loop and the writer's thread: entries there, and back what became of them.

The first entry calls the writer; what is appended before it has come sets out with it. A thread that
wakes needs the interpreter, which the loop gives away after a moment or when it waits: by then a
message has the record of its turn's attempt beside it, and one sync serves both.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from agent.sessions.checkpoint import Changes
from agent.sessions.entry import Entry
from agent.sessions.overlay import Overlay

Command: TypeAlias = Callable[[], None]


class Parcel:
    """Entries on their way. The loop adds at one end while the writer takes from the other, each in one step."""

    __slots__ = ("_called", "_entries")

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque()
        self._called = False

    def add(self, entry: Entry) -> bool:
        """On the loop. True where the writer has to be called for it."""
        self._entries.append(entry)
        if self._called:
            return False
        self._called = True
        return True

    def take(self) -> Iterator[Entry]:
        """On the writer's thread: what there is, and what comes meanwhile."""
        self._called = False  # first: what is added from here on is found below, or calls again
        while self._entries:
            yield self._entries.popleft()


class Courier:
    """The writer's `Listener`. `generation` goes up with every refusal; entries of an older one are void."""

    def __init__(self, loop: asyncio.AbstractEventLoop, overlay: Overlay) -> None:
        self._loop = loop
        self._overlay = overlay
        self.generation = 0
        self._parcel = Parcel()
        self.put: Callable[[Parcel | Command], None]
        """The writer's; set when there is one."""

    def send(self, entry: Entry) -> None:
        """Hand it over, behind all that was sent before."""
        parcel = self._parcel
        if parcel.add(entry):
            self.put(parcel)

    def command(self, command: Command) -> None:
        """Have the writer run it, from any thread: after what was sent before, and before what is sent from now on."""
        self._parcel = Parcel()
        self.put(command)

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

"""Brings committed entries into their files behind the writer's back, so that no commit waits for them.

A thread that waits for a quiet moment: what a turn appends is written together, and the event
loop, which has just been told that its records are durable, is not kept from the interpreter
by work that nobody waits for. The files are read together with what is still on its way
(`view.py`), so nothing is missed meanwhile. Below is `filing.py`, above is the writer.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from agent.sessions.entry import Entry
from agent.sessions.filing import Filing

QUIET_SECONDS = 0.01
"""Without a new entry for so long it begins."""
MOST_SECONDS = 0.03
"""An entry waits no longer than this, however much is going on: files made by the dozen hold up a commit."""
BACKLOG = 4096
"""Entries that may wait; beyond it the writer waits too."""


class Filer:
    """Owns `filing` while its thread runs; the writer borrows it with `quiet`."""

    def __init__(self, filing: Filing, checkpoint_wanted: Callable[[], None]) -> None:
        """`checkpoint_wanted` is called when something was erased, which the journal should not keep for long."""
        self._filing = filing
        self._checkpoint_wanted = checkpoint_wanted
        self._lock = threading.Lock()
        self._waiting: deque[Entry] = deque()
        self._something = threading.Event()
        self._running = True
        self._thread = threading.Thread(target=self._run, name="sessions-filer", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def add(self, entries: Sequence[Entry]) -> None:
        """File these soon, in order. Called by the writer alone."""
        self._waiting.extend(entries)
        self._something.set()
        if len(self._waiting) > BACKLOG:
            with self.quiet():
                pass

    def _run(self) -> None:
        while self._running:
            self._something.wait()
            self._await_quiet()
            self._something.clear()
            with self._lock:
                self._store()
            if self._filing.erased:
                self._checkpoint_wanted()

    def _await_quiet(self) -> None:
        until, seen = time.monotonic() + MOST_SECONDS, -1
        while self._running and len(self._waiting) != seen and time.monotonic() < until:
            seen = len(self._waiting)
            time.sleep(QUIET_SECONDS)

    def _store(self) -> None:
        while self._waiting:
            entries = []
            while self._waiting:
                entries.append(self._waiting.popleft())  # one by one: the writer may be adding at the other end
            self._filing.store(entries)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Everything is filed, and nothing more will be until this is left."""
        with self._lock:
            self._store()
            yield

    def stop(self) -> None:
        """End the thread. Called by the writer, outside of `quiet`."""
        self._running = False
        self._something.set()
        self._thread.join()

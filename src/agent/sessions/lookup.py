"""What is known of one session: from memory, else from the index, else from its file.

The file is asked only where it is not as long as the index says: it was changed by other
hands, or put there while the store was closed. Then it is read from end to end, its torn
tail cut, and the index corrected.
"""

import logging
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

from agent.sessions.disk import Disk
from agent.sessions.index import Index, Row
from agent.sessions.lines import OtherKey
from agent.sessions.overlay import Overlay
from agent.sessions.recovery import scan
from agent.sessions.session import file_of, place_of
from agent.sessions.summary import Summary
from bus.errors import Overloaded
from bus.keys import SessionKey

log = logging.getLogger(__name__)


class Lookup:
    """`adopt` is told, from any thread, of a file that wasn't as the index had it."""

    def __init__(
        self, disk: Disk, folder: Path, index: Index, overlay: Overlay, adopt: Callable[[Summary], None]
    ) -> None:  # fmt: skip
        self._disk = disk
        self._folder = folder
        self._index = index
        self._overlay = overlay
        self._adopt = adopt

    def now(self, key: SessionKey) -> Summary | None:
        """On the event loop, from the index where it stands. Raises NewerFormat, Overloaded."""
        found, summary = self.at_once(key)
        return summary if found else self.load(key)

    def at_once(self, key: SessionKey) -> tuple[bool, Summary | None]:
        """On the event loop: a page of the index and a look at the file's length, which costs less than a thread.

        (False, None) where the file has to be read. Raises Overloaded.
        """
        found, summary = self._overlay.known(key.identity)
        if found:
            return True, summary
        row, fits = self._look(key, place_of(self._folder, key))
        if not fits:
            return False, None
        summary = row.summary if row else None
        self._overlay.remember(key.identity, summary)
        return True, summary

    def _look(self, key: SessionKey, path: str | Path) -> tuple[Row | None, bool]:
        """What the index has, and whether the file is as long as that says."""
        try:
            row = self._index.get(key.identity)
            try:
                status = os.lstat(path)
            except FileNotFoundError:
                return row, True
            size = status.st_size if not stat.S_ISLNK(status.st_mode) else 0
            return row, size == 0 or (row is not None and size == row.size)
        except (OSError, sqlite3.Error) as error:
            raise Overloaded("the store of sessions can't be read", retry_after_ms=1000) from error

    def load(self, key: SessionKey) -> Summary | None:
        """In any thread, past the memory. Raises NewerFormat, Overloaded."""
        path = file_of(self._folder, key)
        row, fits = self._look(key, path)
        if fits:
            return row.summary if row else None
        try:
            return self._rescanned(key, path, row)
        except OtherKey:
            return row.summary if row else None
        except (OSError, sqlite3.Error) as error:
            raise Overloaded("the store of sessions can't be read", retry_after_ms=1000) from error

    def _rescanned(self, key: SessionKey, path: Path, row: Row | None) -> Summary | None:
        found = scan(self._disk, path, key)
        if found is None:
            return row.summary if row else None
        summary = found.summary
        if row is not None:
            summary.touched = row.summary.touched
            summary.record_seq = max(summary.record_seq, row.summary.last_seq)
        log.warning("%s is not as the index has it and was read again", path.name)
        self._adopt(summary)
        return summary

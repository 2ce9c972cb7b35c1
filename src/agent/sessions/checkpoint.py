"""The checkpoint: session files synced, then the index, and only then is the journal cut.

In a thread of its own, so that commits go on meanwhile in a new part of the journal. What
it is given never changes under it: summaries are immutable, files only grow.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from agent.sessions.disk import Disk
from agent.sessions.index import Index, Row, Used
from agent.sessions.session import SessionFiles

KEYS_KEPT_SECONDS = 24 * 3600


class Changes:
    """What is in the journal and the files, and not yet in the index."""

    def __init__(self) -> None:
        self.rows: dict[str, Row] = {}
        self.gone: set[str] = set()
        self.keys: dict[tuple[str, str], Used] = {}
        self.files: set[Path] = set()
        self.folders: set[Path] = set()
        self.unsynced: set[Path] = set()
        """Files whose sync failed: what the system keeps of them is not to be trusted."""

    def __len__(self) -> int:
        return max(len(self.rows), len(self.keys) // 4)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows.values())

    def add(self, row: Row) -> None:
        identity = row.summary.key.identity
        self.rows[identity] = row
        self.gone.discard(identity)

    def remove(self, identity: str) -> None:
        self.rows.pop(identity, None)
        self.gone.add(identity)

    def add_keys(self, keys: Iterable[Used]) -> None:
        for used in keys:
            self.keys[used.user, used.key] = used

    def take(self, files: SessionFiles) -> None:
        """Also sync what was written since the last time."""
        self.files |= files.touched_files
        self.folders |= files.touched_folders
        files.touched_files, files.touched_folders = set(), set()

    def update(self, later: "Changes") -> None:
        """Put `later` on top."""
        for row in later:
            self.add(row)
        for identity in later.gone:
            self.remove(identity)
        self.keys.update(later.keys)
        self.files |= later.files
        self.folders |= later.folders


class Checkpointer:
    """One at a time."""

    def __init__(self, disk: Disk, index: Index, clock: Callable[[], float] = time.time) -> None:
        self._disk = disk
        self._index = index
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, "sessions-checkpoint")

    def start(self, changes: Changes, then: Callable[[Exception | None], None]) -> None:
        """Make `changes` durable; `then` is called on the checkpoint's thread."""

        def work() -> None:
            try:
                self._write(changes)
            except Exception as error:  # whatever went wrong, the journal stays and the writer has to know
                then(error)
            else:
                then(None)

        self._thread.submit(work)

    def run(self, work: Callable[[], None]) -> None:
        """Something that may not meet a checkpoint (a backup), between two of them."""
        self._thread.submit(work)

    def _write(self, changes: Changes) -> None:
        for path in changes.files:
            try:
                self._sync(path)
            except OSError:
                changes.unsynced.add(path)
                raise
        for folder in changes.folders:
            self._disk.sync_folder(folder)
        self._index.write(changes, changes.gone, changes.keys.values(), forget_before=self._clock() - KEYS_KEPT_SECONDS)

    def _sync(self, path: Path) -> None:
        try:
            fd = self._disk.open_append(path) if path.exists() else None
        except FileNotFoundError:
            return
        if fd is None:
            return
        try:
            self._disk.sync_data(fd)
        finally:
            self._disk.close(fd)

    def close(self) -> None:
        self._thread.shutdown()

"""One session's log as a reader sees it: the file, and behind it what isn't in the file yet.

The pending lines are taken on the event loop before the file is opened, so together
nothing is missing; what meanwhile reached the file is recognised by its number.
"""

import errno
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from agent.ports.sessions import Record
from agent.sessions.disk import Disk
from agent.sessions.entry import Entry
from agent.sessions.lines import OtherKey
from agent.sessions.reader import Line, SessionReader, look
from bus.keys import SessionKey

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a session's lines are to be found. `alone`: the pending lines are all there is."""

    key: SessionKey
    path: Path
    head: bytes = b""
    pending: tuple[bytes, ...] = ()
    alone: bool = False


def source_of(key: SessionKey, path: Path, head: bytes, unwritten: Iterable[Entry]) -> Source:
    """What is pending, from the last beginning or end of the session on."""
    lines: list[bytes] = []
    alone = False
    for entry in unwritten:
        if entry.begins or entry.ends or entry.after is None:
            lines, alone = [], True
        if not entry.ends:
            lines.extend(entry.lines)
    return Source(key, path, head, tuple(lines), alone)


class View:
    """Entered around one reading, in a thread that may wait for the disk."""

    def __init__(self, disk: Disk, source: Source) -> None:
        self._source = source
        self._reader = SessionReader(disk, source.path, source.key)
        self._pending = [line for raw in source.pending if (line := look(raw)) is not None]

    def __enter__(self) -> "View":
        """A link or another session's file in this place is passed over. Raises NewerFormat, OSError."""
        if self._source.alone:
            return self
        try:
            self._reader.__enter__()
        except OtherKey:
            log.warning("%s is another session's file", self._source.path.name)
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):
                raise
            log.warning("%s is not a file of ours", self._source.path.name)
        return self

    def __exit__(self, *error: object) -> None:
        self._reader.close()

    def backward(self, before_seq: int | None = None) -> Iterator[Line]:
        """From the newest, or from below `before_seq`, to the oldest."""
        stored = self._reader.backward(before_seq)
        newest = next(stored, None)
        known = newest.seq if newest else 0
        late = [line for line in self._pending if line.seq > known and (before_seq is None or line.seq < before_seq)]
        return chain(reversed(late), [] if newest is None else [newest], stored)

    def forward(self, after_seq: int = 0) -> Iterator[Line]:
        """From the first number above `after_seq` on."""
        last = after_seq
        for line in self._reader.forward(after_seq):
            last = line.seq
            yield line
        for line in self._pending:
            if line.seq > last:
                yield line

    def raw_lines(self) -> Iterator[bytes]:
        """Every readable line as it stands, the head first."""
        last = 0
        head = True
        for _, raw in self._reader.offsets():
            line = look(raw)
            if line is not None and line.record() is not None:
                last = line.seq
                yield raw.rstrip(b"\r")
            elif head and self._reader.head is not None:
                yield raw.rstrip(b"\r")
            head = False
        if last == 0 and self._reader.head is None:
            yield self._source.head.rstrip(b"\n")
        for line in self._pending:
            if line.seq > last:
                yield line.raw


def select(
    view: View, *, after_seq: int, before_seq: int | None, limit: int | None, types: frozenset[str] | None, newest: bool
) -> list[Record]:  # fmt: skip
    """The records asked for by `SessionStore.read`."""
    out: list[Record] = []
    lines = view.backward(before_seq) if newest else view.forward(after_seq)
    for line in lines:
        if limit is not None and len(out) >= limit:
            break
        if (newest and line.seq <= after_seq) or (not newest and before_seq is not None and line.seq >= before_seq):
            break
        if types is not None and line.type not in types:
            continue
        record = line.record()
        if record is not None:
            out.append(record)
    return out[::-1] if newest else out

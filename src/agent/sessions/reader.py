"""Reading a session's file by blocks: forwards, backwards, and to a number by halving.

Above it history, search, recovery. Bytes are split on `\n` only, so U+2028 is text like
any other; lines that are no record are passed over and counted; nothing is ever loaded
as a whole. The numbers in a file rise, which is what makes halving possible.
"""

import logging
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from agent.ports.sessions import Record, SessionHead
from agent.sessions.disk import Disk
from agent.sessions.lines import PREFIX, decode, read_head
from bus.keys import SessionKey

log = logging.getLogger(__name__)

BLOCK = 1 << 16
PROBE = 1 << 12
MAX_LINE = 64 << 20
_warned: set[str] = set()


class Line(NamedTuple):
    """A line that looks like a record: its number and type are known before it is parsed."""

    seq: int
    type: str
    raw: bytes

    def record(self) -> Record | None:
        return decode(self.raw)


def look(raw: bytes) -> Line | None:
    """The number and type of a line, None where it is no record."""
    found = PREFIX.match(raw)
    if found is not None:
        return Line(int(found[1]), found[2].decode(), raw)
    record = decode(raw)
    return None if record is None else Line(record.seq, record.type, raw)


def unended(disk: Disk, fd: int, size: int, most: int) -> bytes:
    """What stands behind the last line's end, about `most` of it: a line that was torn or is just being written."""
    parts: list[bytes] = []
    start = size
    while start > 0 and size - start <= most:
        step = min(BLOCK, start)
        start -= step
        _, end, rest = disk.read_at(fd, step, start).rpartition(b"\n")
        parts.append(rest)
        if end:
            break
    return b"".join(reversed(parts))


class SessionReader:
    """One open file. Raises NewerFormat and OtherKey when entered; a missing file is empty."""

    def __init__(self, disk: Disk, path: Path, key: SessionKey | None) -> None:
        self._disk = disk
        self._path = path
        self._key = key
        self._fd: int | None = None
        self._bad = 0
        self.size = 0
        self.head: SessionHead | None = None

    def __enter__(self) -> "SessionReader":
        try:
            self._fd = self._disk.open_read(self._path)
        except FileNotFoundError:
            return self
        try:
            self.size = self._whole_lines(self._fd, self._disk.size(self._fd))
            first = next((raw for _, raw in self._forward(0, PROBE)), b"")
            self.head = read_head(first, self._key)
        except BaseException:  # where entering fails nobody leaves: the descriptor would stay open
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._fd is not None:
            self._disk.close(self._fd)
            self._fd = None
        if self._bad and self._path.name not in _warned:
            _warned.add(self._path.name)
            log.warning("%s: passed over %d unreadable lines", self._path.name, self._bad)

    def _whole_lines(self, fd: int, size: int) -> int:
        """The length without a torn tail, which may be a line that is just being written."""
        if size == 0 or self._disk.read_at(fd, 1, size - 1) == b"\n":
            return size
        torn = unended(self._disk, fd, size, MAX_LINE)
        return size if decode(torn) is not None else size - len(torn)

    def offsets(self) -> Iterator[tuple[int, bytes]]:
        """Every line as it stands with its offset, the head first."""
        return self._forward(0)

    def forward(self, after_seq: int = 0) -> Iterator[Line]:
        """Records with a higher number than `after_seq`, rising."""
        start = self._offset_of(after_seq + 1) if after_seq > 0 else 0
        for offset, raw in self._forward(start):
            line = self._look(offset, raw)
            if line is not None and line.seq > after_seq:
                yield line

    def backward(self, before_seq: int | None = None) -> Iterator[Line]:
        """Records with a lower number than `before_seq`, falling."""
        end = self.size if before_seq is None else self._offset_of(before_seq)
        for offset, raw in self._backward(end):
            line = self._look(offset, raw)
            if line is not None and (before_seq is None or line.seq < before_seq):
                yield line

    def _look(self, offset: int, raw: bytes) -> Line | None:
        line = look(raw)
        if line is None and offset > 0 and raw.strip():
            self._bad += 1
        return line

    def _offset_of(self, seq: int) -> int:
        """The offset of the first line whose number is `seq` or higher, else the end."""
        low, high = 0, self.size
        while high - low > BLOCK:
            middle = (low + high) // 2
            found = self._first_record(middle, high)
            if found is None or found[1] >= seq:
                high = middle
            else:
                low = found[0]
        for offset, raw in self._forward(low):
            line = look(raw)
            if line is not None and line.seq >= seq:
                return offset
        return self.size

    def _first_record(self, start: int, end: int) -> tuple[int, int] | None:
        """Offset and number of the first record that begins behind `start` and before `end`."""
        skipped = False
        for offset, raw in self._forward(start, PROBE):
            if offset >= end:
                return None
            if skipped and (line := look(raw)) is not None:
                return offset, line.seq
            skipped = True
        return None

    def _forward(self, start: int, block_size: int = BLOCK) -> Iterator[tuple[int, bytes]]:
        if self._fd is None:
            return
        parts: list[bytes] = []
        held, position, line_start = 0, start, start
        while position < self.size:
            block = self._disk.read_at(self._fd, min(block_size, self.size - position), position)
            if not block:
                break
            position += len(block)
            *whole, rest = block.split(b"\n")
            for piece in whole:
                yield line_start, (b"".join((*parts, piece)) if held <= MAX_LINE else b"?")
                line_start += held + len(piece) + 1
                parts, held = [], 0
            held += len(rest)
            parts = [*parts, rest] if held <= MAX_LINE else []
        if held:
            yield line_start, b"".join(parts)

    def _backward(self, end: int) -> Iterator[tuple[int, bytes]]:
        if self._fd is None:
            return
        parts: list[bytes] = []
        held, position = 0, end
        while position > 0:
            count = min(BLOCK, position)
            position -= count
            block = self._disk.read_at(self._fd, count, position)
            first, *rest = block.split(b"\n")
            if rest:
                last = rest.pop()
                offset = position + count - len(last)
                yield offset, (last + b"".join(parts) if held <= MAX_LINE else b"?")
                for piece in reversed(rest):
                    offset -= len(piece) + 1
                    yield offset, piece
                parts, held = [], 0
            held += len(first)
            parts = [first, *parts] if held <= MAX_LINE else []
        if held:
            yield 0, b"".join(parts)

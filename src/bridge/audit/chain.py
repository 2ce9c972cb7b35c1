"""The chain itself: what a line is, how it is hashed, how a file is read and proved.

The hash of a record is the SHA-256 of its line's bytes without the line end, so that no
way of writing JSON has to be agreed on. `previous` holds the hash of the line before,
64 zeros in the first. Beside `audit.jsonl` lies `audit.head` with number and hash of the
last line: without it nobody could tell that the end of a chain is missing. It is written
after the line, so after a crash it may be behind, never ahead.

The chain goes through the log's files (`files.py`). Each but the very first begins with `audit.rotated`, which names
the first record that is kept: so the log itself can let its oldest files go, and nobody else unseen.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from bridge.audit.files import open_files, part_paths

GENESIS = "0" * 64
ROTATED = "audit.rotated"
HEAD_WIDTH = 112
MAX_LINE_BYTES = 1_048_576
_BLOCK = 65_536


@dataclass(frozen=True, slots=True)
class Head:
    """Number and hash of the last line. An empty log has number 0 and the hash of nothing."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Verdict:
    """`ok`, or the first bad record: the reason, the file it is in, and its line there (from 1)."""

    ok: bool
    records: int
    """How many of those that are kept are good, from the first on."""
    line: int | None = None
    reason: str = ""
    path: Path | None = None


def head_path(path: Path) -> Path:
    """The file that keeps the head of the log at `path`."""
    return path.with_suffix(".head")


def line_hash(line: bytes) -> str:
    """The hash of a line without its end."""
    return hashlib.sha256(line).hexdigest()


def encode_head(head: Head) -> bytes:
    """Always the same width, so that it can be written over in place by one write."""
    text = json.dumps({"seq": head.seq, "hash": head.hash})
    return text.ljust(HEAD_WIDTH - 1).encode("ascii") + b"\n"


def read_head(path: Path) -> Head | None:
    """The head beside the log at `path`; None where there is none that can be read."""
    try:
        data = json.loads(head_path(path).read_bytes())
        return Head(int(data["seq"]), str(data["hash"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def parse(line: bytes) -> dict[str, Any] | None:
    """The record in `line`, or None where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(record, dict) or not isinstance(record.get("seq"), int) or "previous" not in record:
        return None
    return record


def verify(path: Path) -> Verdict:
    """Read the whole log and name the first record that does not fit. A log that isn't there is empty.

    Raises OSError.
    """
    head = read_head(path)
    with open_files(path) as files:
        removed, previous = _let_go(files)
        count, at, before = removed, (path, 0), (path, 0)
        seen_head = head is None or head.seq <= removed

        def bad(reason: str, where: tuple[Path, int], good: int) -> Verdict:
            return Verdict(False, good - removed, where[1], reason, where[0])

        lines = _lines(files)
        for file, number, line in lines:
            at, before = (file, number), at
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE_BYTES:
                    return bad("a line that is too long", at, count)
                if file != path:
                    return bad("this line was cut off", at, count)
                at = before
                break  # a torn tail: the next writer cuts it off; the head tells whether a record is missing
            body = line[:-1]
            record = parse(body)
            if record is None:
                return bad("this line is not a record", at, count)
            if record["previous"] != previous:
                following = next(lines, (path, 0, b""))[2]
                if count > removed and record["seq"] == count + 1 and _is_whole(body, following, head):
                    return bad("this record was changed: the next one carries the hash of another", before, count - 1)
                return bad(_why(record, count), at, count)
            if record["seq"] != count + 1:
                return bad(f"record {record['seq']} stands where {count + 1} belongs", at, count)
            if record.get("event") == "audit.broken":
                return bad(str(record.get("reason") or "the log was found broken"), at, count)
            count, previous = count + 1, line_hash(body)
            if head is not None and head.seq == count:
                if head.hash != previous:
                    return bad("this record was changed: the kept head has another hash", at, count - 1)
                seen_head = True
    end = (path, at[1] + 1 if at[0] == path else 1)
    if head is not None and not seen_head:
        return bad(f"records {count + 1} to {head.seq} are missing at the end", end, count)
    if head is None and count:
        return bad(f"{head_path(path).name} is missing: the end can't be proved", end, count)
    return Verdict(True, count - removed)


def _let_go(files: Sequence[tuple[Path, IO[bytes]]]) -> tuple[int, str]:
    """How many records the log itself let go before the first of `files`, and the hash of the last of them."""
    first, *later = [_first_record(file) for _, file in files] or [None]
    if first is not None and any(each is not None and kept_from(each) == _place(first) for each in later):
        return first["seq"] - 1, str(first["previous"])
    return 0, GENESIS


def kept_from(record: dict[str, Any] | None) -> tuple[object, object] | None:
    """Where the kept log begins, by an `audit.rotated`: number of the first record, and what is its `previous`."""
    if record is None or record.get("event") != ROTATED:
        return None
    return record.get("first_seq"), record.get("first_previous")


def _place(record: dict[str, Any]) -> tuple[object, object]:
    return record["seq"], record["previous"]


def beginning(parts: Sequence[Path], dropped: int) -> tuple[object, object]:
    """Where the kept log begins when the first `dropped` of `parts`, the full files, are gone: for `audit.rotated`.

    While nothing is dropped it is what was said before, whatever may be missing meanwhile. Raises OSError.
    """
    with parts[dropped if dropped else -1].open("rb") as file:
        record = _first_record(file)
    if dropped:
        return _place(record) if record is not None else (0, GENESIS)
    return kept_from(record) or (1, GENESIS)


def _first_record(file: IO[bytes]) -> dict[str, Any] | None:
    line = file.readline(MAX_LINE_BYTES + 1)
    file.seek(0)
    return parse(line)


def _is_whole(body: bytes, following: bytes, head: Head | None) -> bool:
    """Whether a record is as it was written: the one after it, or the head, tells its hash."""
    after = parse(following[:-1])
    told = after["previous"] if after is not None else head.hash if head is not None and not following else None
    return bool(told == line_hash(body))


def _why(record: dict[str, Any], count: int) -> str:
    if record["seq"] != count + 1:
        return f"record {record['seq']} stands where {count + 1} belongs: one was removed, added or moved"
    return "the record before this one was changed" if count else "the chain does not begin here"


def _lines(files: Sequence[tuple[Path, IO[bytes]]]) -> Iterator[tuple[Path, int, bytes]]:
    for path, file in files:
        number = 0
        while line := file.readline(MAX_LINE_BYTES + 1):
            number += 1
            yield path, number, line


def tail(path: Path, limit: int = 50) -> list[dict[str, Any]]:
    """The last `limit` records, oldest first. Lines that are no records are left out."""
    lines: list[bytes] = []
    with open_files(path) as files:
        for _, file in reversed(files):
            lines = _last_lines(file, limit - len(lines)) + lines
            if len(lines) >= limit:
                break
    return [record for record in map(parse, lines) if record is not None]


def _last_lines(file: IO[bytes], limit: int) -> list[bytes]:
    """Up to `limit` whole lines from the end, read backwards."""
    position = file.seek(0, os.SEEK_END)
    data = b""
    while position > 0 and data.count(b"\n") <= limit:
        step = min(_BLOCK, position)
        position -= step
        file.seek(position)
        data = file.read(step) + data
    lines = data.split(b"\n")[:-1]  # what follows the last line end is torn, or empty
    if position > 0:
        lines = lines[1:]
    return lines[-limit:] if limit > 0 else []


def last_record(path: Path) -> tuple[Head, int, int]:
    """Head by the last whole line, in the last full file where this one is empty; where it ends here; the size.

    Raises OSError.
    """
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        lines = _last_lines(file, 1)
        file.seek(max(0, size - MAX_LINE_BYTES - 1))
        end = file.tell() + file.read().rfind(b"\n") + 1
    if not lines:
        parts = part_paths(path)
        return last_record(parts[-1])[0] if parts else Head(), 0, size
    record = parse(lines[0])
    return Head(record["seq"] if record else -1, line_hash(lines[0])), end, size

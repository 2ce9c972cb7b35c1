"""The chain itself: what a line is, how it is hashed, how a file is read and proved.

The hash of a record is the SHA-256 of its line's bytes without the line end, so that no
way of writing JSON has to be agreed on. `previous` holds the hash of the line before,
64 zeros in the first. Beside `audit.jsonl` lies `audit.head` with number and hash of the
last line: without it nobody could tell that the end of a chain is missing. It is written
after the line, so after a crash it may be behind, never ahead.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

GENESIS = "0" * 64
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
    """`ok`, or the first bad record: its line in the file (from 1) and the reason."""

    ok: bool
    records: int
    line: int | None = None
    reason: str = ""


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
    """Read the whole log and name the first record that does not fit. A log that isn't there is empty."""
    head = read_head(path)
    previous, count, number = GENESIS, 0, 0
    seen_head = head is None or head.seq == 0
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return _missing(head, 0)
    with file:
        lines = _lines(file)
        for line in lines:
            number += 1
            if not line.endswith(b"\n"):
                if len(line) > MAX_LINE_BYTES:
                    return Verdict(False, count, number, "a line that is too long")
                break  # a torn tail: the next writer cuts it off; the head tells whether a record is missing
            body = line[:-1]
            record = parse(body)
            if record is None:
                return Verdict(False, count, number, "this line is not a record")
            if record["previous"] != previous:
                if count and record["seq"] == count + 1 and _is_whole(body, next(lines, b""), head):
                    reason = "this record was changed: the next one carries the hash of another"
                    return Verdict(False, count - 1, number - 1, reason)
                return Verdict(False, count, number, _why(record, count))
            if record["seq"] != count + 1:
                return Verdict(False, count, number, f"record {record['seq']} stands where {count + 1} belongs")
            if record.get("event") == "audit.broken":
                return Verdict(False, count, number, str(record.get("reason") or "the log was found broken"))
            count, previous = count + 1, line_hash(body)
            if head is not None and head.seq == count:
                if head.hash != previous:
                    return Verdict(False, count - 1, number, "this record was changed: the kept head has another hash")
                seen_head = True
    if not seen_head:
        return _missing(head, count)
    if head is None and count:
        return Verdict(False, count, number, f"{head_path(path).name} is missing: the end can't be proved")
    return Verdict(True, count)


def _missing(head: Head | None, count: int) -> Verdict:
    if head is None or head.seq <= count:
        return Verdict(True, count)
    reason = f"records {count + 1} to {head.seq} are missing at the end"
    return Verdict(False, count, count + 1, reason)


def _is_whole(body: bytes, following: bytes, head: Head | None) -> bool:
    """Whether a record is as it was written: the one after it, or the head, tells its hash."""
    after = parse(following[:-1])
    told = after["previous"] if after is not None else head.hash if head is not None and not following else None
    return bool(told == line_hash(body))


def _why(record: dict[str, Any], count: int) -> str:
    if record["seq"] != count + 1:
        return f"record {record['seq']} stands where {count + 1} belongs: one was removed, added or moved"
    return "the record before this one was changed" if count else "the chain does not begin here"


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(MAX_LINE_BYTES + 1):
        yield line


def tail(path: Path, limit: int = 50) -> list[dict[str, Any]]:
    """The last `limit` records, oldest first. Lines that are no records are left out."""
    try:
        with path.open("rb") as file:
            lines = _last_lines(file, limit)
    except FileNotFoundError:
        return []
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
    """Head by the last whole line; where that line ends; the file's size. Raises OSError."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        lines = _last_lines(file, 1)
        file.seek(max(0, size - MAX_LINE_BYTES - 1))
        end = file.tell() + file.read().rfind(b"\n") + 1
    if not lines:
        return Head(), 0, size
    record = parse(lines[0])
    return Head(record["seq"] if record else -1, line_hash(lines[0])), end, size

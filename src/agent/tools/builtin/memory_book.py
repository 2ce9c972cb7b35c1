"""What people asked the assistant to remember: a file for each person, and nothing crosses.

Above it the tool `memory` and the command `/memory`. A file is append-only JSONL (`remember` and `forget` records),
named by a hash of the user, so that no user name is a path and no two names share a file. A torn or bad line is
left out. The file is rewritten when most of it is about what was forgotten.
"""

import hashlib
import os
import re
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from bus.context import new_id, timestamp
from bus.events import JsonObject

MAX_TEXT_CHARS = 2_000
MAX_MEMORIES = 1_000
KEPT_USERS = 128
"""Books held in memory; the others are read again when needed."""
VERSION = 1

_WORDS = re.compile(r"[a-z0-9_']+|[^\W\d_a-z]+")
_WIDE = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")


@dataclass(frozen=True, slots=True)
class Memory:
    """One thing remembered. `at` is RFC 3339."""

    memory_id: str
    text: str
    at: str


class Full(Exception):
    """No room for another memory, or the text is too long; says so in words."""


@dataclass(slots=True)
class _Book:
    path: Path
    memories: dict[str, Memory] = field(default_factory=dict)
    lines: int = 0
    whole: bool = True
    """Whether the file ends with a whole line."""


class MemoryBook:
    """All people's memories under one folder. Methods do short file work: call them beside the loop."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._books: OrderedDict[str, _Book] = OrderedDict()
        self._lock = threading.Lock()

    def remember(self, user: str, text: str) -> Memory:
        """Keep a text. The same text is kept once. Raises Full, or OSError where the disk refuses."""
        text = " ".join(text.split())
        if not text or len(text) > MAX_TEXT_CHARS:
            raise Full(f"a memory has 1 to {MAX_TEXT_CHARS} characters")
        with self._lock:
            book = self._book(user)
            for known in book.memories.values():
                if known.text == text:
                    return known
            if len(book.memories) >= MAX_MEMORIES:
                raise Full(f"there are {MAX_MEMORIES} memories already: forget some first")
            memory = Memory(new_id("m"), text, timestamp())
            self._append(book, user, {"op": "remember", "id": memory.memory_id, "text": text, "at": memory.at})
            book.memories[memory.memory_id] = memory
            return memory

    def all(self, user: str) -> list[Memory]:
        """Everything remembered for this person, oldest first."""
        with self._lock:
            return list(self._book(user).memories.values())

    def recall(self, user: str, query: str, limit: int = 10) -> list[Memory]:
        """The memories that share most with `query`, the best first; none where nothing is shared."""
        wanted = _grams(query)
        scored = []
        for place, memory in enumerate(self.all(user)):
            grams = _grams(memory.text)
            shared = len(wanted & grams)
            if shared:
                scored.append((shared / (len(wanted) + 0.2 * len(grams)), place, memory))
        scored.sort(key=lambda each: (-each[0], -each[1]))
        return [memory for _, _, memory in scored[:limit]]

    def forget(self, user: str, memory_id: str) -> bool:
        """Forget one. False where this person has no such memory."""
        with self._lock:
            book = self._book(user)
            if memory_id not in book.memories:
                return False
            self._append(book, user, {"op": "forget", "id": memory_id})
            del book.memories[memory_id]
            if book.lines > 64 and book.lines > 4 * len(book.memories):
                self._rewrite(book, user)
            return True

    def forget_all(self, user: str) -> int:
        """Forget everything of one person; his file goes. How many there were."""
        with self._lock:
            book = self._book(user)
            count = len(book.memories)
            book.path.unlink(missing_ok=True)
            self._books.pop(user, None)
            return count

    # ------------------------------------------------------------ files

    def _path(self, user: str) -> Path:
        return self._folder / (hashlib.sha256(user.encode("utf-8", "replace")).hexdigest()[:40] + ".jsonl")

    def _book(self, user: str) -> _Book:
        book = self._books.get(user)
        if book is None:
            book = self._books[user] = self._read(user)
            if len(self._books) > KEPT_USERS:
                self._books.popitem(last=False)
        self._books.move_to_end(user)
        return book

    def _read(self, user: str) -> _Book:
        book = _Book(self._path(user))
        try:
            data = book.path.read_bytes()
        except FileNotFoundError:
            return book
        book.whole = data.endswith(b"\n") or not data
        for line in data.split(b"\n"):
            if not line:
                continue
            book.lines += 1
            try:
                self._apply(book, orjson.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue
        return book

    @staticmethod
    def _apply(book: _Book, record: JsonObject) -> None:
        if record.get("op") == "remember":
            book.memories[str(record["id"])] = Memory(str(record["id"]), str(record["text"]), str(record["at"]))
        elif record.get("op") == "forget":
            book.memories.pop(str(record["id"]), None)

    def _append(self, book: _Book, user: str, record: JsonObject) -> None:
        data = b"" if book.whole else b"\n"
        if not book.lines:
            data += _line({"version": VERSION, "user": user})
        data += _line(record)
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(book.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o600)
        try:
            book.whole = False
            written = os.write(handle, data)
            if written != len(data):
                raise OSError("the disk is full")
            os.fsync(handle)
        finally:
            os.close(handle)
        book.whole = True
        book.lines += data.count(b"\n")

    def _rewrite(self, book: _Book, user: str) -> None:
        records: list[JsonObject] = [{"version": VERSION, "user": user}]
        for memory in book.memories.values():
            records.append({"op": "remember", "id": memory.memory_id, "text": memory.text, "at": memory.at})
        fresh = book.path.with_suffix(".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(b"".join(map(_line, records)))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(book.path)
        book.lines = len(records)


def _line(record: JsonObject) -> bytes:
    return orjson.dumps(record) + b"\n"


def _grams(text: str) -> set[str]:
    """Words, and for scripts without spaces each character and each pair."""
    text = text.lower()
    out: set[str] = set()
    for word in _WORDS.findall(text):
        if _WIDE.search(word):
            out.update(word)
            out.update(word[at : at + 2] for at in range(len(word) - 1))
        elif len(word) > 1 or word.isdigit():
            out.add(word)
            if len(word) > 4:  # so that plurals and endings meet
                out.add(word[:4])
    return out

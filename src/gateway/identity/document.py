"""One small JSON file, mode 0600, replaced as a whole: what every store here is kept in.

A write goes to a neighbour file, is synced and then renamed over the old one, so a crash
leaves either the old text or the new one. It knows nothing of what it holds.
"""

import os
import sys
from pathlib import Path
from typing import Any

import orjson

from bus.errors import Overloaded
from bus.events import JsonObject

VERSION = 1
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
"""For `os.open`: what was planted there as a link is refused. Windows has neither flag, nor links for everybody."""


class CorruptDocument(Exception):
    """The file is there and cannot be used; the message names it and says why."""


class Document:
    """A versioned JSON object in `path`. `data` is its content, tables by name; `save` makes it durable."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.data: JsonObject = self._load()
        self._kept = orjson.dumps(self.data)

    def _load(self) -> JsonObject:
        try:
            flags = os.O_RDONLY | NO_LINK
            with os.fdopen(os.open(self.path, flags), "rb") as file:
                found = orjson.loads(file.read())
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise CorruptDocument(f"{self.path} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise CorruptDocument(f"{self.path} is not JSON: restore it from a backup, or move it away") from error
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise CorruptDocument(f"{self.path} has a format that this version does not know")
        return found

    def save(self) -> None:
        """Replace the file. Raises Overloaded (1007) where the disk refuses; the old content stays, here and there.

        Else what was refused would hold until the next start, and could not be tried again: a token that is
        worth nothing in memory is not found a second time, and lives again after a restart.
        """
        self.data["version"] = VERSION
        text = orjson.dumps(self.data, option=orjson.OPT_INDENT_2)
        try:
            write_private(self.path, text)
        except Overloaded:
            self._go_back()
            raise
        self._kept = text

    def _go_back(self) -> None:
        """Every table as it was saved last; the stores hold the tables themselves."""
        saved = orjson.loads(self._kept)
        for name, table in self.data.items():
            if isinstance(table, dict):
                table.clear()
                table.update(saved.get(name, {}))


def write_private(path: Path, content: bytes) -> None:
    """Put `content` into `path` at once, readable by its owner alone. Raises Overloaded (1007)."""
    beside = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | NO_LINK
        handle = os.open(beside, flags, 0o600)
        with os.fdopen(handle, "wb") as file:
            if sys.platform != "win32":  # there the folder's access list decides
                os.fchmod(file.fileno(), 0o600)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise Overloaded(f"the disk refused to keep this: {error.strerror}", retry_after_ms=5000) from error


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # folders can't be opened there, and renames are journalled
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def rows(document: Document, name: str) -> dict[str, Any]:
    """The table `name` of the document, made where it is missing."""
    table: dict[str, Any] = document.data.setdefault(name, {})
    return table

"""The files of one audit log: `audit.jsonl`, and beside it the full ones that came before.

A full file is called `audit.<number of its last record>.jsonl` and is never written again. This module
knows names and how to open them together; what stands in them is `chain.py`'s.
"""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

PART_BYTES = 10_000_000
"""A file of this size is full."""
KEPT_PARTS = 10
"""So many full files are kept."""


def part_path(path: Path, last: int) -> Path:
    """What a full file of the log at `path` is called, `last` being the number of its last record."""
    return path.with_name(f"{path.stem}.{last:012d}{path.suffix}")


def is_part(other: Path, path: Path) -> bool:
    """Whether `other` is a full file of the log at `path`."""
    name = rf"{re.escape(path.stem)}\.[0-9]{{12,}}{re.escape(path.suffix)}"
    return other.parent == path.parent and re.fullmatch(name, other.name) is not None


def part_paths(path: Path) -> list[Path]:
    """The full files of the log at `path`, oldest first."""
    found = [each for each in path.parent.glob(f"{path.stem}.*{path.suffix}") if is_part(each, path)]
    return sorted(found, key=lambda each: int(each.stem.rpartition(".")[2]))


def audit_files(path: Path) -> list[Path]:
    """All files of the log at `path`, oldest first; `path` itself is the last."""
    return [*part_paths(path), path]


@contextlib.contextmanager
def open_files(path: Path) -> Iterator[list[tuple[Path, IO[bytes]]]]:
    """The files of the log as they are at one moment, oldest first, though a writer begins another meanwhile.

    Files that aren't there are left out. Raises OSError.
    """
    with contextlib.ExitStack() as stack:
        while (files := _open_together(path, stack)) is None:
            stack.close()
        yield files


def _open_together(path: Path, stack: contextlib.ExitStack) -> list[tuple[Path, IO[bytes]]] | None:
    """None where the names came to mean other files in between."""
    current = None
    with contextlib.suppress(FileNotFoundError):
        current = stack.enter_context(path.open("rb"))
    try:
        files: list[tuple[Path, IO[bytes]]] = []
        for part in part_paths(path):
            files.append((part, stack.enter_context(part.open("rb"))))
        if current is not None and not os.path.samestat(os.fstat(current.fileno()), path.stat()):
            return None
    except FileNotFoundError:
        return None
    return files if current is None else [*files, (path, current)]

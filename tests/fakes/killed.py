"""What a process leaves that is killed between two steps: its folder, as it is at one moment."""

import asyncio
import shutil
from pathlib import Path
from typing import TypeAlias

Look: TypeAlias = list[tuple[str, int, int]]


async def copy_at_rest(folder: Path, copy: Path) -> None:
    """Copy `folder` while nothing in it moves: one in motion can't be copied at one moment."""
    while (before := _look(folder)) != _copied(folder, copy) or not before:
        await asyncio.sleep(0.01)


def _look(folder: Path) -> Look:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.endswith("-shm")]
    try:
        return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    except FileNotFoundError:
        return []


def _copied(folder: Path, copy: Path) -> Look:
    """How the folder looks after it was copied."""
    shutil.rmtree(copy, ignore_errors=True)
    try:
        shutil.copytree(folder, copy)
    except (shutil.Error, FileNotFoundError):
        return [("moved", 0, 0)]
    return _look(folder)

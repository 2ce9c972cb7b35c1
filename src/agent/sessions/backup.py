"""A copy of the store that is consistent while it serves, and opens as a store.

Made right after a checkpoint and before the next can begin, so that the index stands
still. Files only grow, so the first `size` bytes of each are what the index speaks of;
a file that was replaced meanwhile (deleted, begun anew) is copied as it is, and read
again by whoever opens the copy.
"""

from collections.abc import Callable
from pathlib import Path

from agent.sessions.disk import Disk
from agent.sessions.index import Index, Row
from agent.sessions.recovery import scan
from agent.sessions.session import file_of

_BLOCK = 1 << 20


def copy_store(disk: Disk, index: Index, folder: Path, destination: Path, stopped: Callable[[], bool]) -> int:
    """Copy everything into `destination`, which must be empty or missing; the number of sessions.

    Raises FileExistsError, OSError.
    """
    destination.mkdir(mode=0o700, parents=True, exist_ok=True)
    if any(destination.iterdir()):
        raise FileExistsError(f"{destination} is not empty")
    target = destination / "index.sqlite"
    index.copy_to(target)
    copy = Index(target)
    try:
        return _copy_files(disk, copy, folder, destination, stopped)
    finally:
        copy.close()


def _copy_files(disk: Disk, copy: Index, folder: Path, destination: Path, stopped: Callable[[], bool]) -> int:
    changed: list[Row] = []
    gone: list[str] = []
    count = 0
    for row in copy.rows():
        if stopped():
            raise OSError(125, "the store was closed during the backup")
        key = row.summary.key
        path = file_of(destination, key)
        copied = _copy_file(disk, file_of(folder, key), path, row.size)
        count += copied is not None
        if copied is None:
            gone.append(key.identity)
        elif copied < row.size and (found := scan(disk, path, key)) is not None:
            found.summary.touched = row.summary.touched
            changed.append(found)
    copy.write(changed, gone, (), forget_before=0.0)
    return count


def _copy_file(disk: Disk, source: Path, target: Path, size: int) -> int | None:
    try:
        fd = disk.open_read(source)
    except FileNotFoundError:
        return None
    try:
        disk.make_folder(target.parent)
        out = disk.open_new(target)
        try:
            return _copy_bytes(disk, fd, out, size)
        finally:
            disk.close(out)
    finally:
        disk.close(fd)


def _copy_bytes(disk: Disk, source: int, target: int, size: int) -> int:
    offset = 0
    while offset < size and (block := disk.read_at(source, min(_BLOCK, size - offset), offset)):
        disk.write(target, block)
        offset += len(block)
    return offset

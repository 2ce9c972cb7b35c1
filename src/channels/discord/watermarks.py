"""How far each Discord channel has been read: the newest message id that is durable, kept over restarts.

Discord's gateway has no acknowledgement, so what came while nobody was connected is
fetched from the history after this mark. Written lazily: a mark that is a little
old only fetches again what is known by its id.
"""

import json
import os
from collections import OrderedDict
from pathlib import Path

_MOST = 5000


class Watermarks:
    """`path` None keeps them in memory only. The least recently used go first above 5000 channels."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._marks: OrderedDict[str, int] = OrderedDict()
        self._dirty = False
        if path is not None and path.exists():
            self._read(path)

    def _read(self, path: Path) -> None:
        try:
            kept = json.loads(path.read_text())["channels"]
            self._marks.update((str(channel), int(mark)) for channel, mark in kept.items())
        except (OSError, ValueError, KeyError, AttributeError, TypeError):
            self._marks.clear()

    def channels(self) -> list[str]:
        """Those that have a mark."""
        return list(self._marks)

    def get(self, channel: str) -> int | None:
        """The newest durable message of a channel."""
        return self._marks.get(channel)

    def advance(self, channel: str, message_id: str) -> None:
        """Everything up to `message_id` is durable or refused; a mark never falls."""
        new = int(message_id)
        if new > self._marks.get(channel, -1):
            self._marks[channel] = new
            self._dirty = True
        self._marks.move_to_end(channel)
        if len(self._marks) > _MOST:
            self._marks.popitem(last=False)

    def save(self) -> None:
        """Write what changed, whole or not at all."""
        if self._path is None or not self._dirty:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self._path.with_suffix(".new")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump({"channels": dict(self._marks)}, file)
        temporary.replace(self._path)
        self._dirty = False

"""How far each Discord channel has been read: the newest message id that is durable. Pure.

Discord's gateway has no acknowledgement, so what came while nobody was connected is
fetched from the history after this mark. It is kept over restarts now and then: a
mark that is a little old only fetches again what is known by its id.
"""

import json
from collections import OrderedDict

_MOST = 5000


class Watermarks:
    """The marks by channel. The least recently used go first above 5000."""

    def __init__(self) -> None:
        self._marks: OrderedDict[str, int] = OrderedDict()
        self._loaded = 0
        self.changed = False
        """Whether there is something to keep; whoever keeps it sets it False."""

    def load(self, text: str | None) -> None:
        """Take in what `dump` gave; what cannot be read is no mark."""
        try:
            kept = json.loads(text or "{}")
            self._marks.update((str(channel), int(mark)) for channel, mark in kept.items())
        except (ValueError, AttributeError, TypeError):
            self._marks.clear()
        self._loaded = max(self._marks.values(), default=0)

    def dump(self) -> str:
        """The marks as a text to keep."""
        return json.dumps(self._marks)

    def channels(self) -> list[str]:
        """Those that have a mark."""
        return list(self._marks)

    def get(self, channel: str) -> int | None:
        """The newest durable message of a channel."""
        return self._marks.get(channel)

    @property
    def newest(self) -> int:
        """The newest message that was read before this start; 0 where nothing was."""
        return self._loaded

    def advance(self, channel: str, message_id: str) -> None:
        """Everything up to `message_id` is durable or refused; a mark never falls."""
        new = int(message_id)
        if new > self._marks.get(channel, -1):
            self._marks[channel] = new
            self.changed = True
        self._marks.move_to_end(channel)
        if len(self._marks) > _MOST:
            self._marks.popitem(last=False)

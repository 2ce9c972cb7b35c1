"""How far each Discord channel has been read: the newest message id that is durable. Pure.

Discord's gateway has no acknowledgement, so what came while nobody was connected is
fetched from the history after this mark. It is kept over restarts now and then: a
mark that is a little old only fetches again what is known by its id. Beside the mark
stands what place the channel is, so that nobody needs to be asked about it.
"""

import json
from collections import OrderedDict

from channels.discord.parse import Where

_MOST = 5000


class Watermarks:
    """The marks by channel. The least recently used go first above 5000."""

    def __init__(self) -> None:
        self._marks: OrderedDict[str, tuple[int, Where]] = OrderedDict()
        self._loaded = 0
        self.changed = False
        """Whether there is something to keep; whoever keeps it sets it False."""

    def load(self, text: str | None) -> None:
        """Take in what `dump` gave; what cannot be read is no mark."""
        self._marks.clear()
        try:
            for channel, (mark, guild, parent) in json.loads(text or "{}").items():
                self._marks[channel] = int(mark), Where(str(guild), channel, str(parent))
        except (ValueError, AttributeError, TypeError):
            self._marks.clear()
        self._loaded = max((mark for mark, _ in self._marks.values()), default=0)

    def dump(self) -> str:
        """The marks as a text to keep."""
        return json.dumps({channel: [mark, w.guild, w.parent] for channel, (mark, w) in self._marks.items()})

    def places(self) -> list[Where]:
        """Those that have a mark, the least recently used first."""
        return [where for _, where in self._marks.values()]

    def get(self, channel: str) -> int | None:
        """The newest durable message of a channel."""
        found = self._marks.get(channel)
        return None if found is None else found[0]

    def where(self, channel: str) -> Where:
        """The place of a channel that has a mark. Raises KeyError for others."""
        return self._marks[channel][1]

    @property
    def newest(self) -> int:
        """The newest message that was read before this start; 0 where nothing was."""
        return self._loaded

    def advance(self, where: Where, message_id: str) -> None:
        """Everything up to `message_id` is durable or refused; a mark never falls."""
        new = int(message_id)
        before = self._marks.get(where.channel)
        if before is None or new > before[0] or where != before[1]:
            self._marks[where.channel] = max(new, before[0] if before else new), where
            self.changed = True
        self._marks.move_to_end(where.channel)
        if len(self._marks) > _MOST:
            self._marks.popitem(last=False)

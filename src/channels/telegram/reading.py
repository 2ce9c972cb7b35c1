"""Updates read one by one or an album at a time, with a memory of albums: an edit of one part is one of the whole.

Telegram tells an edit of a part alone, and nobody can be asked for the others; those of the last albums are remembered
here until a restart. Below is the pure `parse.py`, above `channel.py`.
"""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from bus.events import JsonObject
from channels.base import Incoming
from channels.telegram.parse import Fetch, Me, Parsed, TellTap, album_of, parse_album, parse_message, parse_update

ALBUMS_KEPT = 200
MOST_PARTS = 20


class Reading:
    """`me` is known after the channel's start."""

    def __init__(self, fetch: Fetch, tell: TellTap) -> None:
        self.me = Me(0, "")
        self._fetch = fetch
        self._tell = tell
        self._albums: OrderedDict[tuple[str, str], dict[int, JsonObject]] = OrderedDict()

    def read(self, updates: Sequence[JsonObject]) -> Parsed:
        """What one update says, or the parts of one album. Raises what `parse_update` raises."""
        for update in updates:
            self._remember(update)
        if len(updates) > 1:
            return parse_album([update["message"] for update in updates], self.me, self._fetch)
        if "edited_message" in updates[0]:
            return self._edit(updates[0]["edited_message"])
        return parse_update(updates[0], self.me, self._fetch, self._tell)

    def _remember(self, update: JsonObject) -> None:
        album = album_of(update)
        if album is None:
            return
        parts = self._albums.setdefault(album, {})
        if len(parts) < MOST_PARTS:
            parts[int(update["message"]["message_id"])] = update["message"]
        self._albums.move_to_end(album)
        if len(self._albums) > ALBUMS_KEPT:
            self._albums.popitem(last=False)

    def _edit(self, message: JsonObject) -> Parsed:
        part = parse_message(message, self.me, self._fetch, edited=True)
        album = album_of({"message": message})
        known = self._albums.get(album) if album is not None else None
        if known is None or not isinstance(part, Incoming):
            return part
        known[int(message["message_id"])] = message
        whole = parse_album(list(known.values()), self.me, self._fetch)
        if not isinstance(whole, Incoming):
            return part
        keys = (whole.key, *whole.also)
        return replace(whole, key=part.key, edits=part.edits, also=keys, at=part.at)

"""What is newer than the index, in memory, on the event loop alone.

Summaries of sessions that changed since the last checkpoint or have a turn open, a
small cache of others, entries on their way to disk or file, and idempotency keys. It
shrinks back with every checkpoint, so that a finished session costs nothing for long.
"""

from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence

from agent.sessions.checkpoint import Changes
from agent.sessions.entry import Entry
from agent.sessions.index import Used
from agent.sessions.summary import Summary


class Overlay:
    """`live` is newer than the index; `cached` equals it."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self.live: dict[str, Summary | None] = {}
        """None: taken away."""
        self._cached: OrderedDict[str, Summary | None] = OrderedDict()
        self._on_the_way: deque[tuple[Entry, bool]] = deque()
        """Each with whether its session was `live` when it set out."""
        self._unwritten: dict[str, list[Entry]] = {}
        self.epoch = 0
        """Goes up when something leaves for the index: what was read there before may be older."""
        self._keys: dict[tuple[str, str], tuple[Used, Entry | None]] = {}

    def start_with(self, changes: Changes) -> None:
        """What recovery brought back."""
        for row in changes:
            self.live[row.summary.key.identity] = row.summary
        self.live.update(dict.fromkeys(changes.gone))
        for place, used in changes.keys.items():
            self._keys[place] = (used, None)

    def known(self, identity: str) -> tuple[bool, Summary | None]:
        """Whether anything is known here, and what."""
        if identity in self.live:
            return True, self.live[identity]
        if identity not in self._cached:
            return False, None
        self._cached.move_to_end(identity)
        return True, self._cached[identity]

    def remember(self, identity: str, summary: Summary | None) -> None:
        """What was read from the index; None: the session isn't there, and a message to it is on its way."""
        if identity in self.live:
            return
        self._cached[identity] = summary
        self._cached.move_to_end(identity)
        while len(self._cached) > self._capacity:
            self._cached.popitem(last=False)

    def add(self, entry: Entry) -> None:
        """An entry sets out."""
        identity = entry.key.identity
        self._on_the_way.append((entry, identity in self.live))
        self.live[identity] = entry.after
        self._cached.pop(identity, None)
        self._unwritten.setdefault(identity, []).append(entry)
        for used in entry.keys:
            self._keys[used.user, used.key] = (used, entry)

    def committed(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if self._on_the_way and self._on_the_way[0][0] is entry:
                self._on_the_way.popleft()
            for used in entry.keys:
                self._keys[used.user, used.key] = (used, None)
            entry.settle(None)

    def refused(self, error: Exception) -> None:
        """All that isn't committed: as if it had never been."""
        while self._on_the_way:
            entry, was_live = self._on_the_way.pop()
            self._take_back(entry.key.identity, entry.before, was_live)
            self._arrived(entry)
            for used in entry.keys:
                if self._keys.get((used.user, used.key), (None, None))[1] is entry:
                    del self._keys[used.user, used.key]
            entry.settle(error)

    def _take_back(self, identity: str, before: Summary | None, was_live: bool) -> None:
        """As it was. What the index knew stays for no longer than that: no checkpoint would ever let go of it."""
        if was_live:
            self.live[identity] = before
        else:
            del self.live[identity]
            self.remember(identity, before)

    def written(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            self._arrived(entry)

    def _arrived(self, entry: Entry) -> None:
        identity = entry.key.identity
        waiting = self._unwritten.get(identity, [])
        if entry in waiting:
            waiting.remove(entry)
        if not waiting:
            self._unwritten.pop(identity, None)

    def checkpointed(self, changes: Changes) -> None:
        """Let go of what the index now has. What has a turn open stays: only here is known that nothing crashed."""
        self.epoch += 1
        for row in changes:
            identity = row.summary.key.identity
            if self.live.get(identity) is row.summary and not row.summary.busy:
                del self.live[identity]
                self.remember(identity, row.summary)
        for identity in changes.gone:
            if identity in self.live and self.live[identity] is None:
                del self.live[identity]
        for place, used in changes.keys.items():
            if place in self._keys and self._keys[place][0] is used:
                del self._keys[place]

    def unwritten(self, identity: str) -> tuple[Entry, ...]:
        """What the file doesn't have yet, in its order."""
        return tuple(self._unwritten.get(identity, ()))

    def synced_seq(self, identity: str) -> int | None:
        """The last number on the disk while later ones are on their way; None where all are there."""
        for entry in self._unwritten.get(identity, ()):
            if not entry.done():
                return entry.before.record_seq if entry.before is not None else 0
        return None

    def key(self, user: str, key: str) -> tuple[Used, Entry | None] | None:
        return self._keys.get((user, key))

    def sizes(self) -> dict[str, int]:
        return {"live": len(self.live), "cached": len(self._cached), "on_the_way": len(self._on_the_way),
                "unwritten": len(self._unwritten), "keys": len(self._keys)}  # fmt: skip

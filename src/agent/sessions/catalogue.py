"""Which sessions there are: the index with what is newer in memory laid over it.

Used in a reader's thread, with a copy of the newer part that was taken on the event
loop. No session's file is read.
"""

from collections.abc import Iterator

from agent.sessions.index import Index
from agent.sessions.summary import Summary
from bus.keys import SessionKey


class Catalogue:
    """One look at all sessions. `newer` holds None for those that were taken away."""

    def __init__(self, index: Index, newer: dict[str, Summary | None]) -> None:
        self._index = index
        self._newer = newer

    def page(
        self, owner: str | None, *, channel: str | None, before: int | None, limit: int
    ) -> tuple[list[Summary], int | None]:  # fmt: skip
        """Shown sessions, the last touched first, and the place to go on from. `owner` None means everyone's."""
        mine = [one for one in self._newer.values() if one is not None and _shown(one, owner, channel, before)]
        mine.sort(key=lambda one: -one.touched)
        out: list[Summary] = []
        for one in _merged(iter(mine), self._stored(owner, channel, before)):
            if len(out) >= limit:
                return out, out[-1].touched
            out.append(one)
        return out, None

    def _stored(self, owner: str | None, channel: str | None, before: int | None) -> Iterator[Summary]:
        for one in self._index.listed(owner, channel, before):
            if one.key.identity not in self._newer:
                yield one

    def everything_of(self, owner: str) -> Iterator[Summary]:
        """The owner's shown sessions, the last touched first."""
        mine = [one for one in self._newer.values() if one is not None and _shown(one, owner, None, None)]
        mine.sort(key=lambda one: -one.touched)
        return _merged(iter(mine), self._stored(owner, None, None))

    def open_turns(self) -> list[SessionKey]:
        stored = [identity for identity in self._index.open_turns() if identity not in self._newer]
        newer = sorted((one for one in self._newer.values() if one and one.open_turns), key=lambda one: one.touched)
        return [SessionKey.from_identity(identity) for identity in stored] + [one.key for one in newer]

    def owned_by(self, owner: str) -> list[SessionKey]:
        stored = [identity for identity in self._index.owned_by(owner) if identity not in self._newer]
        newer = [one.key for one in self._newer.values() if one and one.owner == owner and not one.deleted]
        return [SessionKey.from_identity(identity) for identity in stored] + newer

    def unlisted_before(self, moment: str) -> list[SessionKey]:
        """Ephemeral sessions without work that were last used before `moment` (RFC 3339)."""
        stored = [identity for identity in self._index.unlisted_before(moment) if identity not in self._newer]
        newer = [one.key for one in self._newer.values()
                 if one and not one.listed and not one.open_turns and one.updated_at < moment]  # fmt: skip
        return [SessionKey.from_identity(identity) for identity in stored] + newer


def _shown(one: Summary, owner: str | None, channel: str | None, before: int | None) -> bool:
    return (
        one.listed and not one.deleted
        and (owner is None or one.owner == owner)
        and (channel is None or one.channel == channel)
        and (before is None or one.touched < before)
    )  # fmt: skip


def _merged(first: Iterator[Summary], second: Iterator[Summary]) -> Iterator[Summary]:
    """Two falling rows as one."""
    one, two = next(first, None), next(second, None)
    while one is not None or two is not None:
        if two is None or (one is not None and one.touched >= two.touched):
            assert one is not None
            yield one
            one = next(first, None)
        else:
            yield two
            two = next(second, None)

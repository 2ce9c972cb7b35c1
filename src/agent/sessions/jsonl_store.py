"""The store of sessions as the gateway uses it: the log, and what is read across it and out of it.

Above it the gateway's handlers and commands, which check who may ask before they ask:
nothing here knows of roles. Below it `log.py` with the port of the agent.
"""

import asyncio
import time
from itertools import islice
from pathlib import Path

from agent.ports.sessions import SessionHead, SessionState
from agent.sessions.backup import copy_store
from agent.sessions.catalogue import Catalogue
from agent.sessions.entry import Entry
from agent.sessions.history import Cut, find_cut, page
from agent.sessions.log import SessionLog
from agent.sessions.search import Wanted, hits
from agent.sessions.summary import MAX_REPLACING, Summary
from agent.sessions.view import View
from bus.context import timestamp
from bus.errors import BadParameters, Conflict, Overloaded
from bus.events import JsonObject
from bus.keys import SessionKey

EPHEMERAL_SECONDS = 24 * 3600.0
SEARCH_SECONDS = 5.0
_CUTS_KEPT = 4 * MAX_REPLACING
"""More than one session can have: else reading that one would push out what is looked for next."""


class JsonlStore(SessionLog):
    """`SessionStore` and more. Errors of the disk are Overloaded everywhere."""

    def state_now(self, key: SessionKey) -> SessionState | None:
        """What `state` says, on the event loop. Raises NewerFormat, Overloaded."""
        summary = self._lookup.now(key)
        return None if summary is None else summary.state()

    def synced_seq(self, key: SessionKey) -> int | None:
        """The last number of `key` on the disk while later ones are on their way; None where all are there."""
        return self._overlay.synced_seq(key.identity)

    # ------------------------------------------------------------ across sessions

    async def open_turns(self) -> list[SessionKey]:
        """Sessions with a message that was accepted and not answered."""
        return await self._over(Catalogue.open_turns)

    async def owned_by(self, user: str) -> list[SessionKey]:
        """All sessions of `user` that are not deleted."""
        return await self._over(lambda all_of: all_of.owned_by(user))

    async def list_sessions(
        self, owner: str | None, *, limit: int = 50, cursor: str | None = None, channel: str | None = None
    ) -> tuple[list[SessionHead], str | None]:
        """Sessions with the last changed first, and the cursor of the next page.

        `owner` None: everyone's and the groups'. Raises BadParameters for a cursor that isn't ours.
        """
        before = _place(cursor)
        found, after = await self._over(
            lambda all_of: all_of.page(owner, channel=channel, before=before, limit=max(1, limit))
        )
        return [one.head() for one in found], None if after is None else str(after)

    async def search(self, owner: str, query: str, limit: int = 20) -> list[tuple[SessionKey, int, str]]:
        """(session, seq, snippet) in the sessions of `owner`, the last changed first; ends after some seconds."""
        try:
            wanted = Wanted(query)
        except ValueError:
            return []
        until = time.monotonic() + SEARCH_SECONDS
        found: list[tuple[SessionKey, int, str]] = []
        for one in await self._over(lambda all_of: list(all_of.everything_of(owner))):
            if len(found) >= limit or time.monotonic() > until:
                break
            found += await self._search_in(one, wanted, limit - len(found), until)
        return found

    async def _search_in(
        self, one: Summary, wanted: Wanted, limit: int, until: float
    ) -> list[tuple[SessionKey, int, str]]:  # fmt: skip
        def look(view: View) -> list[tuple[SessionKey, int, str]]:
            found = hits(view, self._cuts_of(view, one), wanted, until)
            return [(one.key, seq, snippet) for seq, snippet in islice(found, limit)]

        return await self._viewing(one.key, look, self._long_readers)

    async def sweep(self, now: float | None = None) -> int:
        """Take away ephemeral sessions that were not used for 24 h; how many. `now` in seconds since the epoch."""
        moment = timestamp((self._clock() if now is None else now) - EPHEMERAL_SECONDS)
        swept = 0
        for key in await self._over(lambda all_of: all_of.unlisted_before(moment)):
            summary = await self._summary(key)
            if summary is not None and not summary.listed and not summary.open_turns:
                self._take_away(key, summary)
                swept += 1
        return swept

    def _take_away(self, key: SessionKey, summary: Summary) -> None:
        entry = Entry(key, head=b"", lines=(), before=summary, after=None, generation=self._courier.generation)
        self._overlay.add(entry)
        self._courier.send(entry)

    # ------------------------------------------------------------ out of one session

    async def history(
        self, key: SessionKey, *, limit: int = 50, before_seq: int | None = None
    ) -> tuple[list[JsonObject], bool]:
        """Messages in the form of `chat.history`, oldest first, and whether there are older ones."""
        summary = await self._summary(key)
        if summary is None or summary.deleted:
            return [], False
        return await self._viewing(
            key, lambda view: page(view, self._cuts_of(view, summary), limit=limit, before_seq=before_seq)
        )

    async def export(self, key: SessionKey) -> list[str]:
        """The lines of the file, the head first."""
        return await self._viewing(
            key, lambda view: [raw.decode("utf-8", "replace") for raw in view.raw_lines()], self._long_readers
        )

    def _cuts_of(self, view: View, summary: Summary) -> list[Cut]:
        """What the session's edits hide, found once each, the newest first. In a reader's thread.

        An edit within what a later one hides adds nothing where that one hid its message too, and else only what
        lies before: who asks the same thing a thousand times has one cut, and nobody reads his log as often.
        """
        out: list[Cut] = []
        for seq, replaced in reversed(summary.replacing):
            around = next((cut for cut in out if cut.first <= seq < cut.end), None)
            if around is not None and replaced in around.turns:
                continue
            place = (summary.key.identity, seq if around is None else around.first, replaced)
            if place not in self._cuts:
                self._cuts[place] = find_cut(view, place[1], replaced)
                if len(self._cuts) > _CUTS_KEPT:
                    self._cuts.popitem(last=False)
            cut = self._cuts.get(place)
            if cut is not None:
                out.append(cut)
        return out

    # ------------------------------------------------------------ care

    async def checkpoint(self) -> None:
        """Bring everything into files and index, and cut the journal."""
        await self._command(self._writer.checkpoint)

    async def backup(self, destination: Path) -> int:
        """A copy that opens as a store, made while this one serves; the number of sessions.

        Raises Conflict where `destination` isn't empty, Overloaded.
        """
        if await self._command(self._writer.checkpoint) is not None:
            raise Overloaded("the sessions could not be brought to a state to copy", retry_after_ms=5000)
        over: asyncio.Future[int] = self._loop.create_future()

        def settle(result: int | Exception) -> None:
            if over.done():
                return
            if isinstance(result, int):
                over.set_result(result)
            else:
                over.set_exception(result)

        def work() -> None:
            result: int | Exception
            try:
                result = copy_store(self._disk, self._index, self._folder, destination, lambda: self._closed)
            except FileExistsError as error:
                result = Conflict(str(error))
            except Exception as error:  # it must reach the one who waits, whatever it is
                result = error
            self._loop.call_soon_threadsafe(settle, result)

        self._checkpointer.run(work)
        return await over


def _place(cursor: str | None) -> int | None:
    if not cursor:
        return None
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise BadParameters("this is no cursor of session.list")
    return int(cursor)

"""Long polling: an update is confirmed when it, and all before it, are durable.

Telegram confirms by offset. While something is still being taken in (a large
file, a full session), updates after it are taken too, each chat in order; the
offset stays at the oldest that isn't done. Telegram hands out the next hundred
from there: where a few chats fill them, theirs are written down and confirmed,
or nobody else would be heard. The parts of an album are waited for
before its first part is taken. A poll that does not come back in its time counts
as silence: the connections are renewed.
"""

import asyncio
import json
import logging
import random
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from bus.events import JsonObject
from channels.base import Notes, StateName
from channels.errors import ChannelAuthFailed, ChannelError, RateLimited
from channels.tasks import Tasks
from channels.telegram.client import POLL_GRACE_SECONDS, POLL_SECONDS, Client
from channels.telegram.parse import album_of, chat_of

log = logging.getLogger(__name__)
KINDS = ["message", "edited_message", "callback_query", "message_reaction", "my_chat_member"]
BACKOFF_SECONDS = (0.5, 30.0)
ALBUM_SECONDS = 0.4
ALBUM_ROUNDS = 5
BUSY_SECONDS = 0.5
PAGE = 100
MOST_CHATS = 20
"""More chats than these at work at one time are no fault of some: they are waited for."""
MOST_KEPT = 2000

TakeGroup = Callable[[Sequence[JsonObject]], Awaitable[None]]
"""Takes one update, or the updates of one album; returns when they are durable or refused."""


class Poller:
    """Polls until cancelled. `mark(state, reason)` is told how it goes; `note` is where updates are written down."""

    def __init__(
        self, client: Client, take: TakeGroup, mark: Callable[[StateName, str], None], notes: Notes, note: str
    ) -> None:
        self._client = client
        self._take = take
        self._mark = mark
        self._notes = notes
        self._note = note
        self._tasks = Tasks("telegram updates")
        self._under_way: dict[int, JsonObject] = {}
        self._kept: set[int] = set()
        self._done: set[int] = set()
        self._newest: int | None = None
        self._last_of_chat: dict[str, asyncio.Task[None]] = {}
        self._finished = asyncio.Event()
        self._healthy = False
        self.paused = False

    async def run(self) -> None:
        """Raises ChannelAuthFailed; everything else is waited out here."""
        delay = BACKOFF_SECONDS[0]
        before: list[JsonObject] = json.loads(await self._notes.note(self._note) or "[]")
        self._kept = {int(update["update_id"]) for update in before}
        self._begin(before)
        try:
            while True:
                if self.paused:
                    await asyncio.sleep(3600)
                try:
                    updates = await self._poll()
                except ChannelAuthFailed:
                    raise
                except (ChannelError, TimeoutError) as error:
                    wait = await self._trouble(error, delay)
                    delay = min(2 * delay, BACKOFF_SECONDS[1])
                    await asyncio.sleep(wait)
                    continue
                delay = BACKOFF_SECONDS[0]
                self._healthy = True
                self._mark("ready", "")
                if not self._start(updates) and len(updates) >= PAGE:
                    await self._see_beyond()
                if self._under_way:
                    await self._a_moment()
        finally:
            await self._tasks.close()

    async def _trouble(self, error: Exception, delay: float) -> float:
        """Say what is wrong; how long to wait. The next poll comes back at once, to tell how it is."""
        self._healthy = False
        if isinstance(error, TimeoutError):
            await self._client.renew_polls()
            self._mark("degraded", "Telegram is silent: reconnecting")
            return 0.0
        reason = error.reason if isinstance(error, ChannelError) else type(error).__name__
        self._mark("degraded", reason)
        log.warning("telegram: %s", reason)
        return error.retry_after if isinstance(error, RateLimited) else delay * random.uniform(0.5, 1.0)

    async def _poll(self) -> list[JsonObject]:
        seconds = POLL_SECONDS if self._healthy and not self._under_way else 0
        async with asyncio.timeout(seconds + POLL_GRACE_SECONDS):
            found = await self._client.updates(self._offset(), seconds, KINDS)
        parts = self._album_parts(found)
        for _ in range(ALBUM_ROUNDS if parts else 0):
            await asyncio.sleep(ALBUM_SECONDS)
            async with asyncio.timeout(POLL_GRACE_SECONDS):
                found = await self._client.updates(self._offset(), 0, KINDS)
            before, parts = parts, self._album_parts(found)
            if parts <= before:
                break
        return found

    def _album_parts(self, updates: Sequence[JsonObject]) -> int:
        """How many are parts of albums that have not been taken: more of them may come."""
        return sum(1 for u in self._new(updates) if album_of(u) is not None)

    def _new(self, updates: Sequence[JsonObject]) -> list[JsonObject]:
        return [u for u in updates if u["update_id"] not in self._under_way and u["update_id"] not in self._done]

    def _offset(self) -> int | None:
        """The oldest update that isn't done, else the one after the newest; confirms all before it."""
        if self._newest is None:
            return None
        offset = min(self._under_way.keys() - self._kept, default=self._newest + 1)
        self._done = {number for number in self._done if number >= offset}
        return offset

    def _start(self, updates: Sequence[JsonObject]) -> bool:
        """Whether there was anything new."""
        if self.paused or not updates:
            return False
        self._newest = max(int(u["update_id"]) for u in updates)
        new = self._new(updates)
        self._begin(new)
        return bool(new)

    def _begin(self, updates: Sequence[JsonObject]) -> None:
        for group in grouped(updates):
            numbers = {int(update["update_id"]) for update in group}
            self._under_way.update((int(update["update_id"]), update) for update in group)
            chat = _order_of(group[0])
            self._last_of_chat[chat] = self._tasks.spawn(self._one(group, numbers, self._last_of_chat.get(chat)))

    async def _see_beyond(self) -> None:
        """A page with nothing new in it hides what comes after: where few chats fill it, it is confirmed."""
        waiting = dict(self._under_way)
        if self.paused or len(self._last_of_chat) > MOST_CHATS or len(waiting) > MOST_KEPT:
            return
        try:
            await self._notes.keep_note(self._note, json.dumps(list(waiting.values())))
        except sqlite3.Error as error:
            log.error("telegram: what waits can't be written down (%s)", error)
        else:
            self._kept = set(waiting)

    async def _one(self, group: Sequence[JsonObject], numbers: set[int], before: "asyncio.Task[None] | None") -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        chat = _order_of(group[0])
        try:
            await self._take(group)
        except Exception:  # an update that we stumble over is confirmed, or it would come back for ever
            log.exception("telegram: an update could not be taken in")
        for number in numbers:
            del self._under_way[number]
        self._done |= numbers
        if self._last_of_chat.get(chat) is asyncio.current_task():
            del self._last_of_chat[chat]
        self._finished.set()
        if self._kept and self._kept.isdisjoint(self._under_way):
            self._kept = set()
            with suppress(sqlite3.Error):  # after a restart they are offered again, and known
                await self._notes.keep_note(self._note, "[]")

    async def _a_moment(self) -> None:
        """Until something is done, at most half a second."""
        self._finished.clear()
        try:
            async with asyncio.timeout(BUSY_SECONDS):
                await self._finished.wait()
        except TimeoutError:
            return


def _order_of(update: JsonObject) -> str:
    """What an update keeps its order with: its chat. A tap waits for no message, which may wait for its answer."""
    return f"{chat_of(update)} taps" if "callback_query" in update else chat_of(update)


def grouped(updates: Sequence[JsonObject]) -> list[list[JsonObject]]:
    """Updates one by one, those of one album together at the place of the first."""
    groups: list[list[JsonObject]] = []
    albums: dict[tuple[str, str], list[JsonObject]] = {}
    for update in updates:
        album = album_of(update)
        if album is not None and album in albums:
            albums[album].append(update)
            continue
        groups.append([update])
        if album is not None:
            albums[album] = groups[-1]
    return groups

"""Long polling: an update is confirmed when it, and all before it, are durable.

Telegram confirms by offset. While something is still being taken in (a large
file, a full session), updates after it are taken too, each chat in order; the
offset stays at the oldest that isn't done. The parts of an album are waited for
before its first part is taken. A poll that does not come back in its time counts
as silence: the connections are renewed.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence

from bus.events import JsonObject
from channels.base import StateName
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

TakeGroup = Callable[[Sequence[JsonObject]], Awaitable[None]]
"""Takes one update, or the updates of one album; returns when they are durable or refused."""


class Poller:
    """Polls until cancelled. `mark(state, reason)` is told how it goes."""

    def __init__(self, client: Client, take: TakeGroup, mark: Callable[[StateName, str], None]) -> None:
        self._client = client
        self._take = take
        self._mark = mark
        self._tasks = Tasks("telegram updates")
        self._under_way: set[int] = set()
        self._done: set[int] = set()
        self._newest: int | None = None
        self._last_of_chat: dict[str, asyncio.Task[None]] = {}
        self._finished = asyncio.Event()
        self._healthy = False
        self.paused = False

    async def run(self) -> None:
        """Raises ChannelAuthFailed; everything else is waited out here."""
        delay = BACKOFF_SECONDS[0]
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
                self._start(updates)
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
        offset = min(self._under_way, default=self._newest + 1)
        self._done = {number for number in self._done if number >= offset}
        return offset

    def _start(self, updates: Sequence[JsonObject]) -> None:
        if self.paused or not updates:
            return
        self._newest = max(int(u["update_id"]) for u in updates)
        for group in grouped(self._new(updates)):
            numbers = {int(update["update_id"]) for update in group}
            self._under_way |= numbers
            chat = _order_of(group[0])
            self._last_of_chat[chat] = self._tasks.spawn(self._one(group, numbers, self._last_of_chat.get(chat)))

    async def _one(self, group: Sequence[JsonObject], numbers: set[int], before: "asyncio.Task[None] | None") -> None:
        if before is not None and not before.done():
            await asyncio.wait({before})
        chat = _order_of(group[0])
        try:
            await self._take(group)
        except Exception:  # an update that we stumble over is confirmed, or it would come back for ever
            log.exception("telegram: an update could not be taken in")
        self._under_way -= numbers
        self._done |= numbers
        if self._last_of_chat.get(chat) is asyncio.current_task():
            del self._last_of_chat[chat]
        self._finished.set()

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

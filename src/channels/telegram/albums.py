"""Albums that come by webhook: their parts are kept as they come, and taken together when no more of them come.

Telegram sends the updates of one chat one after another, the next when the one before was answered (telegram-bot-api,
`WebhookActor`; nothing says how many parts an album has). So a part cannot wait for the others: it is written down and
answered, and what was written is taken after a moment of quiet, or before whatever comes next from that chat; after a
restart too. What was taken already is known by its keys. Above is `webhook.py`; this knows neither HTTP nor parsing.
"""

import asyncio
import json
import logging
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from bus.errors import Overloaded
from bus.events import JsonObject
from channels.tasks import Tasks
from channels.telegram.parse import album_of

log = logging.getLogger(__name__)
ALBUM_SECONDS = 0.6
AGAIN_SECONDS = 1.0
MOST_PARTS = 200
"""Held at one time in all chats; what comes beyond that is taken by itself."""

Album = tuple[str, str]
"""Chat and album."""


@dataclass(slots=True)
class _Held:
    parts: list[JsonObject] = field(default_factory=list)
    newest: float = 0.0
    taking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Albums:
    """`take` takes updates together and raises Overloaded; `keep` writes a text down and raises sqlite3.Error."""

    def __init__(
        self, take: Callable[[Sequence[JsonObject]], Awaitable[None]], keep: Callable[[str], Awaitable[None]]
    ) -> None:
        self._take = take
        self._keep = keep
        self._tasks = Tasks("telegram albums")
        self._held: dict[Album, _Held] = {}
        self._kept: dict[int, JsonObject] = {}
        self._writing = asyncio.Lock()

    def load(self, kept: str | None) -> None:
        """Go on with what was kept before a restart."""
        for update in json.loads(kept or "[]"):
            album = album_of(update)
            if album is not None:
                self._kept[update["update_id"]] = update
                self._hold(album, update)

    async def put(self, album: Album, update: JsonObject) -> None:
        """Hold a part; returns when it is written down, or taken. Raises Overloaded where neither can be."""
        await self.settle(album[0], but=album)
        if len(self._kept) >= MOST_PARTS:
            await self._take([update])
            return
        async with self._writing:
            if update["update_id"] in self._kept:
                return
            try:
                await self._write({**self._kept, update["update_id"]: update})
            except sqlite3.Error as error:
                raise Overloaded("the album could not be kept now") from error
            self._hold(album, update)

    async def settle(self, chat: str, *, but: Album | None = None) -> None:
        """Take what is held of `chat`, before something that came later. Raises Overloaded."""
        for album in [each for each in self._held if each[0] == chat and each != but]:
            await self._take_held(album)

    async def close(self) -> None:
        """Stop; what is held is taken after the next start."""
        await self._tasks.close()

    def _hold(self, album: Album, update: JsonObject) -> None:
        held = self._held.get(album)
        if held is None:
            held = self._held[album] = _Held()
            self._tasks.spawn(self._when_quiet(album, held))
        held.parts.append(update)
        held.newest = asyncio.get_running_loop().time()

    async def _when_quiet(self, album: Album, held: _Held) -> None:
        clock = asyncio.get_running_loop().time
        while self._held.get(album) is held:
            if (wait := held.newest + ALBUM_SECONDS - clock()) > 0:
                await asyncio.sleep(wait)
                continue
            try:
                await self._take_held(album)
            except Overloaded:  # Telegram was told that we have it
                await asyncio.sleep(AGAIN_SECONDS)

    async def _take_held(self, album: Album) -> None:
        held = self._held.get(album)
        if held is None:
            return
        async with held.taking:
            if self._held.get(album) is not held:
                return
            taken = list(held.parts)
            try:
                await self._take(taken)
            except Overloaded:
                raise
            except Exception:  # what we stumble over is done with, or nothing that comes later would be taken
                log.exception("telegram: an album could not be taken in")
            held.parts = held.parts[len(taken) :]
            if not held.parts:  # else some came while the others were taken, and wait for their own quiet
                del self._held[album]
        async with self._writing:
            done = {update["update_id"] for update in taken}
            rest = {number: update for number, update in self._kept.items() if number not in done}
            try:
                await self._write(rest)
            except sqlite3.Error as error:  # after a restart they are offered again, and known
                log.error("telegram: what was taken can't be crossed out (%s)", error)
                self._kept = rest

    async def _write(self, parts: dict[int, JsonObject]) -> None:
        await self._keep(json.dumps(list(parts.values())))
        self._kept = parts

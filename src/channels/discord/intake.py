"""What comes in from Discord: events into lanes, places found, gaps filled.

Between `client.py` (raw events, requests) and the channel's `receive*`. A message
counts as read when `receive` has returned; only then does its channel's mark
advance. Decides nothing about who may speak.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Protocol

from channels.arrivals import Lanes
from channels.base import Incoming, Reaction, Tap
from channels.discord.client import Downloads, GatewayClient, Handler
from channels.discord.interactions import COMMAND, TAP, Interaction
from channels.discord.parse import (
    THREADS,
    Fetch,
    Object,
    Self,
    Where,
    parse_command_use,
    parse_edit,
    parse_message,
    parse_reaction,
    parse_tap,
    snowflake_at,
)
from channels.discord.people import PrivateChannels
from channels.discord.refusals import FOREIGN, refusal
from channels.discord.watermarks import Watermarks
from channels.errors import ChannelAuthFailed, ChannelError, DeliveryRejected, RateLimited

_log = logging.getLogger("channels.discord")

LOOK_BACK_SECONDS = 24 * 3600.0
"""As long as a repeated message is certainly recognised, and as an answer is still wanted."""
_PAGE = 100
_MOST_PAGES = 10
_PLACES = 20_000
_MOST_CHANNELS = 500
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


class Receiver(Protocol):
    """The common pipeline, as `BaseChannel` offers it."""

    async def receive(self, incoming: Incoming) -> None: ...

    async def receive_tap(self, tap: Tap) -> None: ...

    async def receive_reaction(self, reaction: Reaction) -> None: ...


class Intake:
    """`keep` writes the marks down. `listed` are the groups of the settings: what is said there counts from the
    first connection on, also before anything was read."""

    def __init__(
        self,
        receiver: Receiver,
        marks: Watermarks,
        keep: Callable[[], Awaitable[None]],
        downloads: Downloads,
        listed: frozenset[str],
    ) -> None:
        self._receiver = receiver
        self._marks = marks
        self._keep = keep
        self._downloads = downloads
        self._listed = listed
        self._client: GatewayClient | None = None
        self.me = Self("")
        self._places: OrderedDict[str, Where] = OrderedDict()
        self.private = PrivateChannels()
        self._lanes = Lanes(self._catch_up)
        self._gate = asyncio.Semaphore(3)
        self.paused = False

    def attach(self, client: GatewayClient, me: Self) -> None:
        """Work with this connection from now on."""
        self._client, self.me = client, me

    def handlers(self) -> dict[str, Handler]:
        """What the gateway's events go to."""
        return {
            "READY": self._ready,
            "GUILD_CREATE": self._guild,
            "THREAD_CREATE": self._thread,
            "MESSAGE_CREATE": self._came,
            "MESSAGE_UPDATE": lambda data: self._put(data["channel_id"], lambda: self._edit(data)),
            "MESSAGE_REACTION_ADD": lambda data: self._put(data["channel_id"], lambda: self._reaction(data)),
            "INTERACTION_CREATE": self._interaction,
        }

    async def close(self) -> None:
        """Stop where it stands; what was not confirmed is read again."""
        await self._lanes.close()

    # ------------------------------------------------------------ places

    def _learn(self, channel: Object, guild: str) -> Where:
        parent = str(channel.get("parent_id") or "") if channel.get("type") in THREADS else ""
        where = Where(str(channel.get("guild_id") or guild), str(channel["id"]), parent)
        self._places[where.channel] = where
        self._places.move_to_end(where.channel)
        if len(self._places) > _PLACES:
            self._places.popitem(last=False)
        return where

    async def _where(self, data: Object) -> Where:
        """The place of a live event; without a guild it is private. A guild's channel that nobody told of is asked for,
        since it may be a thread; where Discord tells nothing, it stands for itself."""
        channel, guild = str(data["channel_id"]), str(data.get("guild_id") or "")
        if not guild:
            return Where("", channel)
        known = self._places.get(channel)
        if known is not None:
            return known
        if "channel" in data:
            return self._learn(data["channel"], guild)
        try:
            return self._learn(await self._ask("/channels/{channel_id}", channel), guild)
        except DeliveryRejected:
            return Where(guild, channel)

    async def _call(self, method: str, path: str, words: Mapping[str, str], body: Any = None) -> Any:
        assert self._client is not None
        try:
            return await self._client.call(method, path, words, body=body)
        except FOREIGN as error:
            raise refusal(error) from error

    # ------------------------------------------------------------ events

    def _put(self, lane: str, job: Callable[[], Awaitable[None]]) -> None:
        if self.paused:
            return

        self._lanes.put(lane, partial(self._do, lane, job))

    async def _do(self, lane: str, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except ChannelError as error:
            _log.warning("an event of discord channel %s is left out: %s", lane, error.reason)
        except Exception:  # one odd event must not take its lane's later ones along
            _log.exception("an event of discord channel %s could not be read", lane)

    async def _catch_up(self, lane: str) -> None:
        await self._do(lane, partial(self._look_back, lane))

    def _ready(self, data: Object) -> None:
        """A fresh session: whatever was said since the marks may have been missed."""
        self.me.application = str((data.get("application") or {}).get("id") or self.me.application)
        for where in reversed(self._marks.places()[-_MOST_CHANNELS:]):
            self._places.setdefault(where.channel, where)
            self._put(where.channel, partial(self._look_back, where.channel))

    def _guild(self, data: Object) -> None:
        guild = str(data["id"])
        for role in data.get("roles") or ():
            if (role.get("tags") or {}).get("bot_id") == self.me.user:
                self.me.roles.add(str(role["id"]))
        for channel in (*(data.get("channels") or ()), *(data.get("threads") or ())):
            where = self._learn(channel, guild)
            if self._is_listed(where) and self._marks.get(where.channel) is None:
                self._begin(where, channel.get("last_message_id"))

    def _begin(self, where: Where, last_message: str | None) -> None:
        """Read a listed channel from here on; one that was made after all that was read, from its beginning."""
        newest = self._marks.newest
        if newest and int(where.channel) > newest:
            self._marks.advance(where, where.channel)
            self._put(where.channel, lambda: self._look_back(where.channel))
        else:
            self._marks.advance(where, last_message or snowflake_at(time.time()))

    def _thread(self, data: Object) -> None:
        self._learn(data, data.get("guild_id", ""))

    def _is_listed(self, where: Where) -> bool:
        return where.channel in self._listed or where.parent in self._listed

    def _came(self, data: Object) -> None:
        if self.paused and self._marks.get(data["channel_id"]) is None:
            self._mark_before(data, Where(str(data.get("guild_id") or ""), str(data["channel_id"])))
        self._put(data["channel_id"], lambda: self._message(data))

    def _mark_before(self, data: Object, where: Where) -> None:
        self._marks.advance(where, str(int(data["id"]) - 1))

    async def _message(self, data: Object) -> None:
        await self._take(data, await self._where(data))

    async def _take(self, data: Object, where: Where) -> None:
        if self._marks.get(where.channel) is None:
            # Until now nothing was read here: kept before it is handed on, so that a crash in between finds it again.
            self._mark_before(data, where)
            await self._keep()
        parsed = parse_message(data, self.me, where, self._fetcher)
        if isinstance(parsed, Incoming):
            if not where.guild:
                self.private.met(parsed.identity.peer, where.channel)
            await self._receiver.receive(parsed)
        elif parsed is not None:
            await self._receiver.receive_reaction(parsed)
        self._marks.advance(where, data["id"])

    async def _edit(self, data: Object) -> None:
        parsed = parse_edit(data, self.me, await self._where(data), self._fetcher)
        if parsed is not None:
            await self._receiver.receive(parsed)

    async def _reaction(self, data: Object) -> None:
        parsed = parse_reaction(data, self.me, await self._where(data))
        if parsed is not None:
            await self._receiver.receive_reaction(parsed)

    def _fetcher(self, url: str) -> Fetch:
        async def fetch(limit: int) -> bytes:
            try:
                return await self._downloads.fetch(url, limit)
            except FOREIGN as error:
                raise refusal(error) from error

        return fetch

    # ------------------------------------------------------------ the history

    async def _look_back(self, channel: str) -> None:
        """Take in what was said in `channel` after its mark, oldest first; a day back at most."""
        mark = self._marks.get(channel)
        if mark is None:
            return
        after = max(mark, int(snowflake_at(time.time() - LOOK_BACK_SECONDS)))
        try:
            where = self._places.get(channel) or self._marks.where(channel)
            for _ in range(_MOST_PAGES):
                page = await self._page(channel, after)
                for message in page:
                    await self._do(channel, partial(self._take, message, where))
                if len(page) < _PAGE:
                    return
                after = int(page[-1]["id"])
            _log.warning("discord channel %s: more was missed than is read again", channel)
        except DeliveryRejected as error:
            _log.info("no look back at discord channel %s: %s", channel, error.reason)

    async def _page(self, channel: str, after: int) -> list[Object]:
        """A piece of the history, oldest first."""
        page: list[Object] = await self._ask(f"/channels/{{channel_id}}/messages?limit={_PAGE}&after={after}", channel)
        later = [message for message in page if int(message["id"]) > after]
        return sorted(later, key=lambda message: int(message["id"]))

    async def _ask(self, path: str, channel: str) -> Any:
        """Of this channel, from Discord. Trouble that passes is waited for: nothing later may be read before."""
        delay = _FIRST_DELAY
        while True:
            try:
                async with self._gate:
                    return await self._call("GET", path, {"channel_id": channel})
            except (DeliveryRejected, ChannelAuthFailed):
                raise
            except RateLimited as error:
                await asyncio.sleep(error.retry_after)
            except ChannelError:
                await asyncio.sleep(delay)
                delay = min(_LONGEST_DELAY, 2 * delay)

    # ------------------------------------------------------------ interactions

    def _interaction(self, data: Object) -> None:
        """Discord waits 3 seconds for a sign, so that comes first and waits for nothing."""
        alone = f"interaction {data['id']}"
        interaction = Interaction(data, self._call, lambda: self.me.application)
        if data["type"] == TAP:
            self._put(alone, lambda: self._tap(interaction))
        elif data["type"] == COMMAND:
            self._put(alone, interaction.promise_answer)
            self._put(data["channel_id"], lambda: self._command(interaction))

    async def _tap(self, interaction: Interaction) -> None:
        await interaction.promise_change()
        parsed = parse_tap(interaction.data, self.me, await self._where(interaction.data), interaction.tell)
        if parsed is not None:
            await self._receiver.receive_tap(parsed)

    async def _command(self, interaction: Interaction) -> None:
        data = interaction.data
        parsed = parse_command_use(data, self.me, await self._where(data))
        if parsed is not None:
            if parsed.place.kind == "direct":
                self.private.met(parsed.identity.peer, data["channel_id"])
            await self._receiver.receive(parsed)
        await interaction.end_promise()

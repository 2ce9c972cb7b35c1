"""What comes in from Feishu: events into lanes, each answered when it is durable.

The same for the long connection and the webhook, which differ only in `respond`.
Unanswered, or answered with anything but 200, an event comes again; of a kind that
nobody wants, it is answered at once. Decides nothing about who may speak.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias

from bus.errors import Overloaded
from channels.arrivals import Lanes
from channels.base import Incoming, Reaction, Tap
from channels.errors import ChannelError, DeliveryRejected, RateLimited
from channels.feishu.api import FeishuApi
from channels.feishu.names import Names
from channels.feishu.outgoing import Outgoing
from channels.feishu.parse import (
    MESSAGE,
    REACTIONS,
    TAP,
    Fetch,
    Parent,
    Self,
    event_type,
    lane_of,
    parent_id,
    parse_message,
    parse_parent,
    parse_reaction,
    parse_tap,
    private_chat,
    sender_of,
)

Object: TypeAlias = dict[str, Any]
Respond: TypeAlias = Callable[[int, Object | None], Awaitable[None]]

_log = logging.getLogger("channels.feishu")

_PRIVATE_CHATS = 20_000
_TAP_SECONDS = 2.5
"""Feishu waits 3 s for what a tapped button shows."""
_PARENT_SECONDS = (0.5, 30.0)
"""The first wait, and for how long the message replied to is asked for: in a group nothing else may tell that we are
spoken to."""
_DONE, _AGAIN, _FULL = 200, 500, 503


class Receiver(Protocol):
    """The common pipeline, as `BaseChannel` offers it."""

    async def receive(self, incoming: Incoming) -> None: ...

    async def receive_tap(self, tap: Tap) -> None: ...

    async def receive_reaction(self, reaction: Reaction) -> None: ...


class Intake:
    """`me` is known after the channel's start."""

    def __init__(self, receiver: Receiver, api: FeishuApi, outgoing: Outgoing) -> None:
        self._receiver = receiver
        self._api = api
        self._outgoing = outgoing
        self._lanes = Lanes()
        self._names = Names(api)
        self._chats: OrderedDict[str, str] = OrderedDict()
        """Private chat -> its person."""
        self.me = Self(api.app_id, "")
        self.paused = False

    async def close(self) -> None:
        """Stop where it stands; what was not answered comes again."""
        await self._lanes.close()

    def handle(self, payload: Object, respond: Respond) -> None:
        """Take in one event; `respond` is called once, later. Raises nothing, whatever the event looks like."""
        try:
            kind, lane = event_type(payload), lane_of(payload)
        except AttributeError:  # something else stands where an object belongs: nobody will ever understand it
            _log.warning("an event of feishu is not understood")
            self._put("", payload, respond, lambda _: _nothing(_DONE))
            return
        if kind == MESSAGE and not self.paused:
            self._put(lane, payload, respond, self._message)
        elif kind == TAP and not self.paused:
            self._put(lane, payload, respond, self._tap)
        elif kind in REACTIONS and not self.paused:
            self._put(lane, payload, respond, self._reaction)
        else:
            code = _FULL if self.paused else _DONE
            self._put(lane, payload, respond, lambda _: _nothing(code))

    def _put(
        self, lane: str, payload: Object, respond: Respond,
        take: Callable[[Object], Awaitable[tuple[int, Object | None]]],
    ) -> None:  # fmt: skip
        async def job() -> None:
            try:
                code, data = await take(payload)
            except Overloaded:
                code, data = _FULL, None
            except Exception:  # one odd event must not take its lane's later ones along; Feishu offers it again
                _log.exception("an event of feishu could not be read")
                code, data = _AGAIN, None
            await respond(code, data)

        if not self._lanes.put(lane, job):
            self._lanes.put(f"full {lane}", lambda: respond(_FULL, None))

    # ------------------------------------------------------------ kinds of events

    async def _message(self, payload: Object) -> tuple[int, Object | None]:
        parent = await self._parent(parent_id(payload))
        name = await self._names.of(sender_of(payload))
        incoming = parse_message(payload, self.me, parent, self._fetcher, name)
        if incoming is not None:
            self._remember(private_chat(payload), incoming)
            await self._receiver.receive(incoming)
        return _DONE, None

    def _remember(self, chat: str, incoming: Incoming) -> None:
        if chat:
            self._chats[chat] = incoming.identity.peer
            self._outgoing.private[incoming.identity.peer] = chat
            if len(self._chats) > _PRIVATE_CHATS:
                _, person = self._chats.popitem(last=False)
                self._outgoing.private.pop(person, None)
        if incoming.thread:
            self._outgoing.anchor(incoming.thread, incoming.message_id)

    async def _parent(self, message_id: str) -> Parent:
        """What was replied to; without it the message still counts."""
        if not message_id:
            return Parent()
        if self._outgoing.is_ours(message_id):
            return Parent(ours=True)
        began, delay = time.monotonic(), _PARENT_SECONDS[0]
        while True:
            try:
                items = (await self._api.call("GET", f"/im/v1/messages/{message_id}")).get("items") or []
            except ChannelError as error:
                if isinstance(error, DeliveryRejected) or time.monotonic() - began > _PARENT_SECONDS[1]:
                    _log.info("the message replied to cannot be read: %s", error.reason)
                    return Parent()
                await asyncio.sleep(error.retry_after if isinstance(error, RateLimited) else delay)
                delay = min(2 * delay, 5.0)
            else:
                return parse_parent(items[0], self.me) if items else Parent()

    def _fetcher(self, message_id: str, key: str, kind: str) -> Fetch:
        async def fetch(limit: int) -> bytes:
            return await self._api.download(f"/im/v1/messages/{message_id}/resources/{key}", limit, type=kind)

        return fetch

    async def _tap(self, payload: Object) -> tuple[int, Object | None]:
        told: list[str] = []

        async def tell(text: str) -> None:
            told.append(text)

        tap = parse_tap(payload, self.me, self._chats, tell)
        if tap is None:
            return _DONE, None
        try:
            async with asyncio.timeout(_TAP_SECONDS):
                await self._receiver.receive_tap(tap)
        except TimeoutError:
            return _AGAIN, None
        text = next((text for text in told if text), "")
        return _DONE, {"toast": {"type": "info", "content": text}} if text else {}

    async def _reaction(self, payload: Object) -> tuple[int, Object | None]:
        for reaction in parse_reaction(payload, self.me):
            await self._receiver.receive_reaction(reaction)
        return _DONE, None


async def _nothing(code: int) -> tuple[int, Object | None]:
    return code, None

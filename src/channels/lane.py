"""One chat's way out: performs what `ChatDelivery` names, one call at a time, and keeps what changed.

A lane has a task only while there is something to do. Lanes share nothing but
the channel's total rate, so that one slow chat holds up no other. Before a send
leaves, its row is in the outbox.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from typing import Any

from bus import context, tracing
from bus.errors import GatewayError
from bus.events import MediaRef
from channels.base import BaseChannel, Media, Text
from channels.bucket import Bucket
from channels.delivery import ChatDelivery
from channels.errors import ChannelError, ChannelUnavailable, DeliveryRejected, OutcomeUnknown
from channels.items import PLACEHOLDER, Body, Call, Delete, Draft, Edit, Item, Probe, React, Send, Typing, Wait
from channels.ledger import Ledger, OpenApproval
from channels.outbox import Outbox
from channels.wording import say

log = logging.getLogger(__name__)
HELD_UP_SECONDS = 10.0
KEEP_AGAIN_SECONDS = 1.0
"""How long after a refusal the disk is asked again to keep what changed."""
CALL_SECONDS = 90.0
UPLOAD_SECONDS = 150.0
"""No call to a platform takes longer, and none with a file; the adapters' own time-outs are shorter."""

ReadMedia = Callable[[MediaRef, str], Awaitable[bytes]]


class Lane:
    """The shell around one `ChatDelivery`. `link` gives the channel while it is open, else None."""

    def __init__(
        self,
        channel: str,
        name: str,
        chat: ChatDelivery,
        *,
        link: Callable[[], BaseChannel | None],
        outbox: Outbox,
        ledger: Ledger,
        read_media: ReadMedia,
        total: Bucket,
        spawn: Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"],
    ) -> None:
        self.channel = channel
        self.name = f"{channel} {name}"
        self.chat = chat
        self._link = link
        self._outbox = outbox
        self._ledger = ledger
        self._read_media = read_media
        self._total = total
        self._spawn = spawn
        self.asked: list[OpenApproval] = []
        self.finals: list[tuple[str, str]] = []
        """What is still to be kept besides items: questions, and the texts of turns that ended."""
        self._keeping = False
        self._refused_at: float | None = None
        """Since when the disk refuses (monotonic); what it refused is kept here until it takes it."""
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def wake(self) -> None:
        """Something changed."""
        self._wake.set()
        if self._task is None or self._task.done():
            self._task = self._spawn(self._work())

    @property
    def busy(self) -> bool:
        """Whether something is on its way, or waits to be kept; not what the platform holds up for longer."""
        to_keep = bool(self._keeping or self.chat.changed or self.chat.closed or self.asked or self.finals)
        held_up = self.chat.not_before - time.monotonic() > HELD_UP_SECONDS
        # nobody waits for a disk that refuses
        return (to_keep and self._refused_at is None) or (self.chat.queued > 0 and not held_up)

    @property
    def idle(self) -> bool:
        """Whether this lane may be forgotten."""
        waits = self.busy or self.chat.queued > 0 or self._refused_at is not None
        return (self._task is None or self._task.done()) and not waits and not self.chat.turns

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            await self._keep()
            channel = self._link()
            call = self.chat.next(time.monotonic()) if channel is not None else Wait(3600)
            if call is None:
                if self._refused_at is not None:
                    await self._sleep(KEEP_AGAIN_SECONDS)
                elif self.chat.changed or self.chat.closed:
                    continue
                elif not self._wake.is_set():
                    return
            elif isinstance(call, Wait):
                await self._sleep(call.seconds if self._refused_at is None else KEEP_AGAIN_SECONDS)
            elif channel is not None:
                await self._make(channel, call)

    async def _sleep(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _make(self, channel: BaseChannel, call: Call) -> None:
        await self._keep()
        await self._total_rate()
        try:
            async with asyncio.timeout(_most_seconds(call)):
                with self._span(call):
                    identifier = await self._perform(channel, call)
        except ChannelError as error:
            log.info("%s: %s of %s failed: %s", self.name, type(call).__name__, type(error).__name__, error.reason)
            self.chat.outcome(call, time.monotonic(), error=error)
        except TimeoutError:
            self.chat.outcome(call, time.monotonic(), error=OutcomeUnknown("no answer in time"))
        except Exception as error:  # an adapter's mistake must neither end the lane nor be repeated for ever
            log.exception("%s: %s raised what no adapter may raise", self.name, type(call).__name__)
            kind = OutcomeUnknown if isinstance(call, Send) else DeliveryRejected  # a send may have left
            self.chat.outcome(call, time.monotonic(), error=kind(f"internal: {type(error).__name__}"))
        else:
            self.chat.outcome(call, time.monotonic(), platform_id=identifier)

    def _span(self, call: Call) -> AbstractContextManager[tracing.Span]:
        """The span of a call to the platform, in the trace of the message that it answers."""
        turn = self.chat.turns.get(call.item.turn) if isinstance(call, Send | Edit | Delete | Probe) else call.turn
        context.trace_id.set((turn.trace_id if turn is not None else "") or context.new_trace_id())
        return tracing.span(tracing.CHANNEL, self.channel, direction="out", call=type(call).__name__.lower())

    async def _total_rate(self) -> None:
        while (wait := self._total.wait(time.monotonic())) > 0:  # noqa: ASYNC110  # the wait is computed, not polled
            await asyncio.sleep(wait)
        self._total.take()

    async def _perform(self, channel: BaseChannel, call: Call) -> str:
        match call:
            case Send(item, body):
                return await self._send(channel, item, body)
            case Edit(item, body):
                await channel.edit(item.address, item.platform_id or "", _text(body), final=body.final)
            case Delete(item):
                await channel.delete(item.address, item.platform_id or "")
            case Probe(item, platform_id):
                await channel.edit(item.address, platform_id, _text(PLACEHOLDER), final=False)
            case Draft(turn, body):
                await channel.draft(turn.address, _draft_id(turn.message_id), _text(body))
            case Typing(turn):
                await channel.typing(turn.address)
            case React(turn, emoji):
                await channel.react(turn.address, turn.reply_to or "", emoji)
        return ""

    async def _send(self, channel: BaseChannel, item: Item, body: Body) -> str:
        turn = self.chat.turns.get(item.turn)
        owner = item.owner or (turn.user if turn else "")
        if body.media is not None and body.media.size > channel.capabilities.upload_bytes:
            self._too_large(item, body.media, channel.capabilities.upload_bytes, turn.language if turn else "en")
        content = _text(body) if body.media is None else await self._media(body.media, owner)
        return await channel.send(item.address, content, reply_to=item.reply_to, nonce=item.nonce, final=body.final)

    def _too_large(self, item: Item, ref: MediaRef, limit: int, language: str) -> None:
        """The person is told that there is a file; it is listed as refused. Raises DeliveryRejected."""
        self.chat.notice(item.address, say("too_large", language, file=ref.name, limit=limit // 1_048_576))
        raise DeliveryRejected("the file is larger than this platform takes")

    async def _media(self, ref: MediaRef, owner: str) -> Media:
        try:
            data = await self._read_media(ref, owner)
        except GatewayError as error:
            raise DeliveryRejected(f"the file can't be read: {error.message}") from error
        except OSError as error:
            raise ChannelUnavailable("the file can't be read now") from error
        return Media(data=data, mime=ref.mime, name=ref.name)

    async def _keep(self) -> None:
        """Write down what changed; where the disk refuses, delivery goes on and says so, and it is tried again."""
        if self._refused_at is not None and time.monotonic() - self._refused_at < KEEP_AGAIN_SECONDS:
            return
        changed, self.chat.changed = self.chat.changed, {}
        closed, self.chat.closed = self.chat.closed, []
        asked, self.asked = self.asked, []
        finals, self.finals = self.finals, []
        self._keeping = True
        try:
            for message_id, text in finals:
                await self._ledger.answered(message_id, text)
            for approval in asked:
                await self._ledger.ask(approval)
            await self._outbox.save(self.channel, changed.values())
            for message_id in closed:
                await self._ledger.close_turn(message_id)
            self._refused_at = None
        except sqlite3.Error as error:
            log.error("%s: the outbox can't be written (%s)", self.name, error)
            if isinstance(error, sqlite3.OperationalError):  # full or locked, which passes
                self._refused_at = time.monotonic()
                # All of it may be written twice. An outcome that is lost is a message sent twice after a restart.
                self.chat.changed = changed | self.chat.changed
                self.chat.closed = closed + self.chat.closed
                self.asked = asked + self.asked
                self.finals = finals + self.finals
        finally:
            self._keeping = False


def _text(body: Body) -> Text:
    return Text(markdown=body.markdown, plain=body.plain, activity=body.activity, buttons=body.buttons)


def _most_seconds(call: Call) -> float:
    return UPLOAD_SECONDS if isinstance(call, Send) and call.body.media is not None else CALL_SECONDS


def _draft_id(message_id: str) -> int:
    """A positive 31-bit number, the same for the whole turn."""
    number = 0
    for character in message_id:
        number = (number * 131 + ord(character)) & 0x7FFFFFFF
    return number or 1

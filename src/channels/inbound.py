"""The common way in: gate, repetition, media, transcription, submission, until the message is durable.

An adapter hands in what it parsed and confirms to its platform when `message`
returns: then the message is durable, was a repetition, or was refused in sight
of its sender. Where the gateway is overloaded the pipeline waits, as long as
nothing else gets through either; a single full session is told and not waited
for. Knows no platform; who may speak is the gatekeeper's decision.
"""

import asyncio
import hashlib
import logging
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bus import commands
from bus.context import new_id, new_trace_id
from bus.errors import Forbidden, GatewayError, IdempotencyConflict, NotFound, Overloaded, RateLimited
from bus.events import Accepted, Actor, InboundMessage, MediaRef
from bus.keys import SessionKey, take_apart
from bus.message_bus import Inbound
from channels.approvals import read_button
from channels.attachments import Attachments
from channels.base import Address, BaseChannel, Incoming, Notes, Reaction, Tap, address_of
from channels.items import Turn
from channels.ledger import Ledger, Seen
from channels.ports import Admitted, ApprovalDesk, Gatekeeper, Hint
from channels.text import clean
from channels.wording import decided, say

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 30.0
EDIT_SECONDS = 86_400.0
_NAME_CHARS = 64
_QUOTED_CHARS = 2000


class Chats(Protocol):
    """What the way in needs of the way out. `host.py` answers."""

    def notice(self, to: Address, markdown: str, *, reply_to: str | None = None) -> None: ...

    def expect(self, turn: Turn) -> None: ...

    def forget(self, message_id: str) -> None: ...

    def accepted(self, message_id: str) -> None: ...


class InboundPipeline:
    """For one channel. `patience` in seconds is how long a full gateway is waited for; None without end.

    `notes` and `folder` are where its adapter remembers what it must across restarts.
    """

    def __init__(
        self,
        chats: Chats,
        *,
        bus: Inbound,
        gatekeeper: Gatekeeper,
        ledger: Ledger,
        attachments: Attachments,
        desk: ApprovalDesk,
        question_closed: "CloseQuestion",
        notes: Notes,
        folder: Path,
        patience: float | None = None,
    ) -> None:
        self._chats = chats
        self._bus = bus
        self._gate = gatekeeper
        self._ledger = ledger
        self._attachments = attachments
        self._desk = desk
        self._question_closed = question_closed
        self.notes = notes
        self.folder = folder
        self.patience = patience
        self._under_way: dict[str, asyncio.Event] = {}
        self._last_accepted = 0.0

    # ------------------------------------------------------------ messages

    async def message(self, channel: BaseChannel, incoming: Incoming) -> None:
        """Returns when `incoming` is durable, a repetition, or refused. Raises Overloaded with `patience` only."""
        key = f"{incoming.identity.channel}:{incoming.identity.account}:{incoming.key}"
        while (running := self._under_way.get(key)) is not None:
            await running.wait()
        done = self._under_way[key] = asyncio.Event()
        try:
            await self._message(channel, incoming, key)
        finally:
            del self._under_way[key]
            done.set()

    async def _message(self, channel: BaseChannel, incoming: Incoming, key: str) -> None:
        if incoming.identity.bot:
            return
        if await self._seen(key) is not None:
            return
        to = _address(channel, incoming)
        admission = await self._gate.admit(incoming.identity, incoming.place)
        if not isinstance(admission, Admitted):
            await self._stranger(incoming, to, admission)
            return
        before, digest = None, _digest(incoming)
        if incoming.edits is not None:
            before = await self._seen(f"{incoming.identity.channel}:{incoming.identity.account}:{incoming.edits}")
            if before is not None and before.digest == digest:
                return
            if before is None and time.time() - incoming.at > EDIT_SECONDS:
                return
        message = await self._compose(channel, incoming, admission.actor, key, to)
        if message is None:
            return
        if before is not None:
            message = replace(message, replaces=before.message_id)
        await self._submit(channel, incoming, message, key, digest, to)

    async def _seen(self, key: str) -> Seen | None:
        try:
            return await self._ledger.seen(key)
        except sqlite3.Error as error:
            log.error("the channels' file can't be read (%s)", error)
            return None

    async def _stranger(self, incoming: Incoming, to: Address, admission: object) -> None:
        """Not let in: a link code may still tie this identity to a user; else the hint, or silence."""
        if incoming.place.kind != "direct":
            return
        found = commands.parse(incoming.text)
        if found is not None and found[0].name == "link" and found[1]:
            try:
                user = await self._gate.link(found[1], incoming.identity)
            except GatewayError:
                pass
            else:
                self._chats.notice(to, say("linked", incoming.identity.language, user=user))
                return
        if isinstance(admission, Hint):
            self._chats.notice(to, admission.text)

    async def _compose(
        self, channel: BaseChannel, incoming: Incoming, actor: Actor, key: str, to: Address
    ) -> InboundMessage | None:
        wants_reply = incoming.place.kind == "direct" or incoming.addressed or channel.settings.group_policy == "open"
        text = clean(incoming.text)
        if incoming.quoted and not text.startswith("/"):
            quoted = "\n".join(f"> {line}" for line in clean(incoming.quoted)[:_QUOTED_CHARS].split("\n"))
            text = f"{quoted}\n\n{text}" if text else quoted
        media: tuple[MediaRef, ...] = ()
        if incoming.media and wants_reply:
            taken = await self._attachments.take(incoming.media, actor, channel.settings.max_media_bytes)
            media, text = taken.refs, "\n\n".join(part for part in (text, *taken.texts) if part)
            for name in taken.too_large:
                limit = channel.settings.max_media_bytes // 1_048_576
                self._chats.notice(to, say("too_large", actor.language, file=name, limit=limit))
        elif incoming.media:
            text = "\n".join([*([text] if text else []), *(f"[{h.kind}: {clean(h.name)}]" for h in incoming.media)])
        if not text.strip() and not media:
            return None
        if not wants_reply:
            text = f"{_spoken_name(incoming.identity.name) or incoming.identity.peer}: {text}"
        return InboundMessage(
            session=channel.session_of(incoming),
            actor=actor,
            text=text,
            message_id=new_id("msg"),
            received_at=time.time(),
            media=media,
            idempotency_key=key,
            wants_reply=wants_reply,
            origin=f"channel:{channel.name}",
            reply_to=incoming.message_id,
            trace_id=new_trace_id(),
            metadata={"platform_message": incoming.message_id, "sender": _spoken_name(incoming.identity.name)},
        )

    async def _submit(
        self, channel: BaseChannel, incoming: Incoming, message: InboundMessage, key: str, digest: str, to: Address
    ) -> None:
        if message.wants_reply:
            turn = Turn(
                message_id=message.message_id, session=message.session.text, address=to, reply_to=incoming.message_id,
                requester=str(incoming.identity), user=message.actor.user, language=message.actor.language,
                acknowledge=channel.capabilities.reactions,
            )  # fmt: skip
            self._chats.expect(turn)
        else:
            turn = None
        try:
            accepted = await self._until_durable(message, turn, channel.name)
        except GatewayError as error:
            await self._refused(message, error, to, key, digest)
            return
        except BaseException:
            self._chats.forget(message.message_id)
            raise
        await self._keep(key, accepted.message_id, digest)
        if accepted.message_id == message.message_id:
            self._chats.accepted(message.message_id)
        else:
            self._chats.forget(message.message_id)
            await self._close(message.message_id)

    async def _until_durable(self, message: InboundMessage, turn: Turn | None, channel: str) -> Accepted:
        """Submit until it is taken. Raises GatewayError for a refusal, Overloaded when patience is over."""
        began, delay = time.monotonic(), 0.2
        while True:
            try:
                if turn is not None:
                    await self._ledger.open_turn(channel, turn)
                accepted = await self._bus.submit(message)
            except sqlite3.Error as error:
                log.error("the channels' file can't be written (%s)", error)
                wait = Overloaded("the gateway can't keep messages now")
            except Overloaded as error:
                wait = error
            else:
                self._last_accepted = time.monotonic()
                return accepted
            waited = time.monotonic() - began
            others_get_through = self._last_accepted > began
            if (self.patience is not None and waited > self.patience) or (
                waited > PATIENCE_SECONDS and others_get_through
            ):
                raise wait
            delay = min(5.0, max(delay * 2, (wait.retry_after_ms or 0) / 1000))
            await asyncio.sleep(delay)

    async def _refused(self, message: InboundMessage, error: GatewayError, to: Address, key: str, digest: str) -> None:
        """The gateway will not take it: its sender is told, and it isn't offered again."""
        self._chats.forget(message.message_id)
        await self._close(message.message_id)
        if isinstance(error, Overloaded) and self.patience is not None:
            raise error
        if isinstance(error, IdempotencyConflict):
            log.info("a platform repeated a message with other content; the first stands")
        elif message.wants_reply:
            self._chats.notice(to, _sorry(error, message.actor.language), reply_to=message.reply_to)
        await self._keep(key, message.message_id, digest)

    async def _keep(self, key: str, message_id: str, digest: str) -> None:
        try:
            await self._ledger.see(key, message_id, digest)
        except sqlite3.Error as error:
            log.error("the channels' file can't be written (%s)", error)

    async def _close(self, message_id: str) -> None:
        try:
            await self._ledger.close_turn(message_id)
        except sqlite3.Error as error:
            log.error("the channels' file can't be written (%s)", error)

    # ------------------------------------------------------------ taps and the rest

    async def tap(self, channel: BaseChannel, tap: Tap) -> None:
        """A decision by button: only by who was asked, only once; to anyone else nothing happens."""
        note = await self._decide(channel, tap)
        await tap.tell(note)

    async def _decide(self, channel: BaseChannel, tap: Tap) -> str:
        button = read_button(tap.data)
        if button is None or tap.identity.bot:
            return ""
        admission = await self._gate.admit(tap.identity, tap.place)
        asked = await self._ledger.asked(button[0])
        if not isinstance(admission, Admitted) or asked is None or asked.channel != channel.name:
            return ""
        actor = admission.actor
        if asked.requester and asked.requester != str(tap.identity):
            return ""
        if asked.user and asked.user != actor.user:
            return ""
        try:
            resolved = await self._desk.resolve(asked.approval_id, button[1], actor)
        except Forbidden as error:
            return error.message
        except NotFound:
            resolved = False
        except GatewayError as error:
            return error.message
        if not resolved:
            self._question_closed(asked.approval_id, asked.session)
            return say("closed", actor.language)
        return decided(button[1], actor.language)

    async def reaction(self, channel: BaseChannel, reaction: Reaction) -> None:
        """Reactions, joins and polls pass the gate and change nothing."""
        admission = await self._gate.admit(reaction.identity, reaction.place)
        if isinstance(admission, Admitted):
            log.debug("%s: %s", channel.name, reaction.what)


class CloseQuestion(Protocol):
    """Take the buttons off a question that is no longer asked."""

    def __call__(self, approval_id: str, session: str) -> None: ...


def _address(channel: BaseChannel, incoming: Incoming) -> Address:
    session: SessionKey = channel.session_of(incoming)
    return address_of(take_apart(session.text, frozenset({channel.name})))


def _digest(incoming: Incoming) -> str:
    """Tells whether an edit changed what we read."""
    names = "\x00".join(f"{h.kind}:{h.name}:{h.size}" for h in incoming.media)
    return hashlib.sha256(f"{incoming.text}\x00{names}".encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _spoken_name(name: str) -> str:
    """A display name as one harmless line."""
    return " ".join("".join(c for c in clean(name) if c.isprintable()).replace(":", " ").split())[:_NAME_CHARS]


def _sorry(error: GatewayError, language: str) -> str:
    if isinstance(error, RateLimited):
        return say("too_fast", language, seconds=max(1, round((error.retry_after_ms or 1000) / 1000)))
    if isinstance(error, Overloaded):
        return say("busy", language)
    return say("refused", language, message=error.message)

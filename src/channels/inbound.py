"""The common way in: gate, repetition, media, transcription, submission, until the message is durable.

An adapter hands in what it parsed and confirms to its platform when `message`
returns: then the message is durable, was a repetition, or was refused in sight
of its sender. Where the gateway is overloaded the pipeline waits, as long as
nothing else gets through either; a single full session is told and not waited
for. Knows no platform; who may speak is the gatekeeper's decision.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from bus import commands, context, tracing
from bus.context import new_id
from bus.errors import GatewayError, IdempotencyConflict, Overloaded
from bus.events import Accepted, Actor, InboundMessage, MediaRef
from bus.message_bus import Inbound
from channels.attachments import Attachments
from channels.base import Address, BaseChannel, Incoming, Notes, Reaction, Tap
from channels.items import Turn
from channels.job import Job, quoting, says_nothing_new, sorry, spoken_name
from channels.ledger import Ledger, Seen
from channels.ports import Admitted, Gatekeeper, Hint, Identity, Place
from channels.questions import Answered
from channels.taps import Taps
from channels.text import clean
from channels.wording import say

log = logging.getLogger(__name__)
PATIENCE_SECONDS = 30.0


class Chats(Protocol):
    """What the way in needs of the way out. `host.py` answers."""

    def notice(self, to: Address, markdown: str, *, reply_to: str | None = None) -> None: ...

    def expect(self, turn: Turn) -> None: ...

    def forget(self, message_id: str) -> None: ...

    def accepted(self, message_id: str) -> None: ...

    def waits(self, message_id: str, to: Address) -> bool:
        """Whether the answer to this message is still to come there."""
        ...

    async def answered(self, text: str, to: Address, requester: str, actor: Actor) -> Answered | None:
        """Whether the text answers what this person has been asked there."""
        ...


AgentOf = Callable[[Place, Identity], str]
"""Which agent answers somebody somewhere; its id becomes part of the session's key."""


def main_agent(place: Place, identity: Identity) -> str:
    """Everybody talks to `main`."""
    return "main"


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
        taps: Taps,
        notes: Notes,
        folder: Path,
        patience: float | None = None,
        agent_of: AgentOf = main_agent,
    ) -> None:
        self._chats = chats
        self._bus = bus
        self._gate = gatekeeper
        self._ledger = ledger
        self._attachments = attachments
        self._taps = taps
        self.notes = notes
        self.folder = folder
        self.patience = patience
        self.agent_of = agent_of
        self._under_way: dict[str, asyncio.Event] = {}
        self._last_accepted = 0.0

    async def message(self, channel: BaseChannel, incoming: Incoming) -> None:
        """Returns when `incoming` is durable, a repetition, or refused. Raises Overloaded with `patience` only."""
        job = Job(channel, incoming)
        while (running := self._under_way.get(job.key)) is not None:
            await running.wait()
        done = self._under_way[job.key] = asyncio.Event()
        context.trace_id.set(context.new_trace_id())  # from the platform's message on, to the bridge and back
        try:
            with tracing.span(tracing.CHANNEL, channel.name, direction="in"):
                await self._message(job)
        finally:
            del self._under_way[job.key]
            done.set()

    async def _message(self, job: Job) -> None:
        incoming = job.incoming
        if incoming.identity.bot or await self._seen(job.key) is not None:
            return
        incoming = (job := await self._in_his_language(job)).incoming
        admission = await self._gate.admit(incoming.identity, incoming.place)
        if not isinstance(admission, Admitted):
            await self._stranger(job, admission)
            return
        before = None if incoming.edits is None else await self._seen(job.scoped(incoming.edits))
        if incoming.edits is not None and says_nothing_new(incoming, before, job.digest):
            return
        if incoming.edits is None and await self._answers(job, admission.actor):
            return
        message = await self._compose(job, admission.actor)
        if message is None:
            return
        if before is not None and (incoming.place.kind == "direct" or self._chats.waits(before.message_id, job.to)):
            # It hides all that came after: in a group that is others' too, so there only what isn't answered yet goes.
            message = replace(message, replaces=before.message_id)
        await self._submit(job, message)

    async def _seen(self, key: str) -> Seen | None:
        try:
            return await self._ledger.seen(key)
        except sqlite3.Error as error:
            log.error("the channels' file can't be read (%s)", error)
            return None

    async def _in_his_language(self, job: Job) -> Job:
        """The language in which he spoke there before, if it was he who spoke last."""
        identity = job.incoming.identity
        try:
            person = None if identity.language else await self._ledger.person(job.session.text)
        except sqlite3.Error:
            return job
        if person is None or person[0] != str(identity):
            return job
        return Job(job.channel, replace(job.incoming, identity=replace(identity, language=person[2])))

    async def _stranger(self, job: Job, admission: object) -> None:
        """Not let in: a link code may still tie this identity to a user; else the hint, or silence."""
        incoming = job.incoming
        if incoming.place.kind != "direct":
            return
        found = commands.parse(incoming.text)
        if found is not None and found[0].name == "link" and found[1]:
            try:
                user = await self._gate.link(found[1], incoming.identity)
            except GatewayError:
                pass
            else:
                await self._keep(job, new_id("msg"))  # offered once more he is no stranger, and the code is spent
                self._chats.notice(job.to, say("linked", incoming.identity.language, user=user))
                return
        if isinstance(admission, Hint):
            self._chats.notice(job.to, admission.text)

    async def _answers(self, job: Job, actor: Actor) -> bool:
        """Whether it answers a tool server's question: then it is no turn of its own."""
        incoming = job.incoming
        if incoming.media or not self._wants_reply(job) or commands.parse(incoming.text) is not None:
            return False
        answered = await self._chats.answered(clean(incoming.text), job.to, str(incoming.identity), actor)
        if answered is None:
            return False
        if answered.notice:
            self._chats.notice(job.to, answered.notice, reply_to=incoming.message_id)
        await self._keep(job, new_id("msg"))
        return True

    def _wants_reply(self, job: Job) -> bool:
        open_to_all = job.channel.settings.group_policy == "open"
        return job.incoming.place.kind == "direct" or job.incoming.addressed or open_to_all

    async def _compose(self, job: Job, actor: Actor) -> InboundMessage | None:
        """The message as the agent gets it; None where nothing is in it."""
        incoming, settings = job.incoming, job.channel.settings
        wants_reply = self._wants_reply(job)
        name = spoken_name(incoming.identity.name)
        text = quoting(clean(incoming.text), clean(incoming.quoted))
        media: tuple[MediaRef, ...] = ()
        if wants_reply:
            taken = await self._attachments.take(incoming.media, actor, settings.max_media_bytes)
            media, text = taken.refs, "\n\n".join(part for part in (text, *taken.texts) if part)
            for file in taken.too_large:
                megabytes = settings.max_media_bytes // 1_048_576
                self._chats.notice(job.to, say("too_large", actor.language, file=file, limit=megabytes))
        else:
            text = "\n".join(part for part in (text, *(f"[{h.kind}: {clean(h.name)}]" for h in incoming.media)) if part)
        if not text.strip() and not media:
            return None
        return InboundMessage(
            session=job.session,
            actor=actor,
            text=text if wants_reply else f"{name or incoming.identity.peer}: {text}",
            message_id=new_id("msg"),
            received_at=time.time(),
            media=media,
            idempotency_key=job.key,
            wants_reply=wants_reply,
            origin=f"channel:{job.channel.name}",
            reply_to=incoming.message_id,
            trace_id=context.current_trace_id(),
            metadata={"platform_message": incoming.message_id, "sender": name},
        )

    async def _submit(self, job: Job, message: InboundMessage) -> None:
        turn = job.turn(message) if message.wants_reply else None
        if turn is not None:
            self._chats.expect(turn)
        try:
            accepted = await self._until_durable(message, turn, job.channel.name)
        except GatewayError as error:
            await self._refused(job, message, error)
            return
        except BaseException:  # cancelled, too: a turn that never comes must not be expected
            self._chats.forget(message.message_id)
            raise
        repeated = accepted.message_id != message.message_id
        try:
            await self._keep(job, accepted.message_id)
        finally:  # cancelled, too: what is durable is answered
            (self._chats.forget if repeated else self._chats.accepted)(message.message_id)
        if repeated:
            await self._close(message.message_id)

    async def _until_durable(self, message: InboundMessage, turn: Turn | None, channel: str) -> Accepted:
        """Submit until it is taken. Raises GatewayError for a refusal, Overloaded when patience is over."""
        began, delay = time.monotonic(), 0.1
        while True:
            try:
                if turn is not None:
                    await self._ledger.open_turn(channel, turn)
                accepted = await self._bus.submit(message)
            except sqlite3.Error as error:
                log.error("the channels' file can't be written (%s)", error)
                refusal = Overloaded("the gateway can't keep messages now")
            except Overloaded as error:
                refusal = error
            else:
                self._last_accepted = time.monotonic()
                return accepted
            waited = time.monotonic() - began
            if self.patience is not None and waited > self.patience:
                raise refusal
            if waited > PATIENCE_SECONDS and self._last_accepted > began:
                raise refusal
            delay = min(5.0, max(delay * 2, (refusal.retry_after_ms or 0) / 1000))
            await asyncio.sleep(delay)

    async def _refused(self, job: Job, message: InboundMessage, error: GatewayError) -> None:
        """The gateway will not take it: its sender is told, and it isn't offered again."""
        self._chats.forget(message.message_id)
        await self._close(message.message_id)
        if isinstance(error, Overloaded) and self.patience is not None:
            raise error
        if isinstance(error, IdempotencyConflict):
            log.info("a platform repeated a message with other content; the first stands")
        elif message.wants_reply:
            self._chats.notice(job.to, sorry(error, message.actor.language), reply_to=message.reply_to)
        await self._keep(job, message.message_id)

    async def _keep(self, job: Job, message_id: str) -> None:
        try:
            await self._ledger.see(job.keys, message_id, job.digest)
        except sqlite3.Error as error:
            log.error("the channels' file can't be written (%s)", error)

    async def _close(self, message_id: str) -> None:
        try:
            await self._ledger.close_turn(message_id)
        except sqlite3.Error as error:
            log.error("the channels' file can't be written (%s)", error)

    async def tap(self, channel: BaseChannel, tap: Tap) -> None:
        """A button was pressed."""
        await self._taps.tap(channel, tap)

    async def reaction(self, channel: BaseChannel, reaction: Reaction) -> None:
        """Reactions, joins and polls pass the gate and change nothing."""
        if reaction.place.kind == "direct":
            return  # a stranger's would use up the one hint that he is given, and nothing is said to a reaction
        admission = await self._gate.admit(reaction.identity, reaction.place)
        if isinstance(admission, Admitted):
            log.debug("%s: %s", channel.name, reaction.what)

"""All channels of this gateway: runs each under its supervisor, brings events to the right one, drains them.

A channel that fails concerns nobody else. Below is `host.py`, one per channel;
above is `gateway/app.py`, which hands in the ports and shows states and deliveries.
"""

import asyncio
import logging
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from bus.context import timestamp
from bus.errors import NotFound
from bus.events import Event, JsonObject
from bus.keys import SessionKey
from bus.message_bus import MessageBus
from channels.attachments import Attachments
from channels.base import ReadBody, Reply
from channels.database import Database
from channels.host import ChannelHost, parts_of
from channels.inbound import AgentOf, InboundPipeline, main_agent
from channels.items import requeue
from channels.ledger import Ledger
from channels.outbox import Outbox
from channels.ports import Answers, ApprovalDesk, Gatekeeper, MediaStore, Transcriber
from channels.registry import channel_class, make_channel
from channels.settings import ChannelsSettings
from channels.taps import Taps

log = logging.getLogger(__name__)
PRUNE_SECONDS = 6 * 3600.0
WEBHOOK_PATIENCE_SECONDS = 5.0


class ChannelManager:
    """The channels that are enabled in `settings`. State lies in `folder`."""

    def __init__(
        self,
        settings: ChannelsSettings,
        *,
        folder: Path,
        bus: MessageBus,
        gatekeeper: Gatekeeper,
        media: MediaStore,
        desk: ApprovalDesk,
        transcriber: Transcriber | None = None,
        answers: Answers | None = None,
        agent_of: AgentOf = main_agent,
    ) -> None:
        self._settings = settings
        self._folder = folder
        self._bus = bus
        self._gatekeeper = gatekeeper
        self._attachments = Attachments(media, transcriber)
        self._media = media
        self._desk = desk
        self._answers = answers
        self._agent_of = agent_of
        self._database = Database(folder / "channels.db")
        self._outbox = Outbox(self._database)
        self._ledger = Ledger(self._database)
        self.platforms = frozenset(settings.names())
        """All channels whose session keys only an adapter makes, enabled or not."""
        self._started = timestamp()
        self._hosts = {name: self._host(name) for name in settings.names() if self._enabled(name)}

    def _enabled(self, name: str) -> bool:
        found = self._settings.of(name)
        return found is not None and found.enabled is True

    def _host(self, name: str) -> ChannelHost:
        settings = self._settings.of(name)
        assert settings is not None
        return ChannelHost(
            name,
            settings,
            lambda inbound: make_channel(name, settings, inbound),
            load=lambda: channel_class(name),
            pipeline=self._pipeline,
            outbox=self._outbox,
            ledger=self._ledger,
            media=self._media,
            desk=self._desk,
            answers=self._answers,
        )

    def _pipeline(self, host: ChannelHost) -> InboundPipeline:
        def closed(approval_id: str, session: str) -> None:
            key = SessionKey(session)
            host.question_closed(approval_id, key, parts_of(key, self.platforms))

        taps = Taps(
            gatekeeper=self._gatekeeper, ledger=self._ledger, desk=self._desk, questions=host.questions,
            question_closed=closed,
        )  # fmt: skip
        webhook = getattr(host.settings, "mode", "") == "webhook"
        return InboundPipeline(
            host,
            bus=self._bus,
            gatekeeper=self._gatekeeper,
            ledger=self._ledger,
            attachments=self._attachments,
            taps=taps,
            notes=self._ledger,
            folder=self._folder,
            patience=WEBHOOK_PATIENCE_SECONDS if webhook else None,
            agent_of=self._agent_of,
        )

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Serve until cancelled."""
        leave = self._bus.attach(self.take) if self._hosts else lambda: None
        try:
            async with asyncio.TaskGroup() as group:
                for host in self._hosts.values():
                    group.create_task(host.run(), name=f"channel {host.name}")
                if self._hosts:
                    group.create_task(self._prune(), name="channels prune")
                else:
                    await asyncio.Event().wait()
        finally:
            leave()

    async def close(self) -> None:
        """Close the file; after `run` has ended."""
        await self._database.close()

    async def _prune(self) -> None:
        while True:
            try:
                await self._outbox.prune()
                await self._ledger.prune()
            except sqlite3.Error as error:
                # Delivery goes on where the file takes nothing, and so do the channels: it is tidied up later.
                log.error("the channels' file can't be tidied up (%s)", error)
            await asyncio.sleep(PRUNE_SECONDS)

    async def pause(self) -> None:
        """The first phase of a shutdown: nothing is taken in any more."""
        await asyncio.gather(*(host.supervisor.pause() for host in self._hosts.values()))

    async def drained(self) -> None:
        """Returns when everything that can go out now has gone; the caller sets the deadline."""
        while any(host.busy for host in self._hosts.values()):  # noqa: ASYNC110 - once in a life; nothing tells it
            await asyncio.sleep(0.05)

    def take(self, event: Event) -> None:
        """An event on the bus: to the channel that its session's key names. Never waits, never raises."""
        session = getattr(event, "session", None)
        if session is None or session.scope:
            return
        parts = parts_of(session, self.platforms)
        host = self._hosts.get(parts.channel)
        if host is None:
            return
        try:
            host.take(event, parts)  # type: ignore[arg-type]  # it has a session, so it is an event of one
        except Exception:  # the publisher is the agent: a mistake in showing a turn must not end it
            log.exception("%s: an event could not be shown", parts.channel)

    # ------------------------------------------------------------ for people and programs

    def states(self) -> dict[str, JsonObject]:
        """For `/status`: `{name: {state, since, queued, reason?}}` of all channels there are."""
        return {name: self._state(name) for name in self._settings.names()}

    def _state(self, name: str) -> JsonObject:
        host = self._hosts.get(name)
        if host is None:
            return {"state": "off", "since": self._started, "queued": 0}
        state = host.state
        out: JsonObject = {"state": state.state, "since": state.since, "queued": host.queued}
        if state.reason:
            out["reason"] = state.reason
        return out

    async def webhook(self, name: str, headers: Mapping[str, str], read_body: ReadBody) -> Reply:
        """One call by a platform: 404 where that channel takes none, 503 while it can't."""
        host = self._hosts.get(name)
        if host is None or getattr(host.settings, "mode", "") != "webhook":
            return Reply(404, b'{"error":{"code":1003,"message":"not found","retryable":false}}')
        channel = host.channel
        if channel is None:
            return Reply(503, b"{}", headers={"Retry-After": "5"})
        return await channel.webhook(headers, read_body)

    async def deliveries(self, *, limit: int = 200) -> list[JsonObject]:
        """The refused and the unknown, the newest first, as `delivery.list` shows them."""
        return await self._outbox.failed(limit=limit)

    async def resend(self, delivery_id: str) -> bool:
        """Send one of them again, as a new message. Raises NotFound."""
        found = await self._outbox.find(delivery_id)
        if found is None or found[1].state not in ("refused", "unknown"):
            raise NotFound("no such delivery among the refused and the unknown")
        host = self._hosts.get(found[0])
        if host is None or not await host.resend(found[1]):
            requeue(found[1])  # it goes out when the channel is on again
            await self._outbox.save(found[0], [found[1]])
        return True

    def host(self, name: str) -> ChannelHost | None:
        """The supervisor of an enabled channel."""
        return self._hosts.get(name)

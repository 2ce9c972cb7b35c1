"""What people asked to be reminded of: run in a lane of its own, told where it was asked for.

The scheduler (`agent/tools/builtin/schedule_book.py`) says what is due; the turn runs in
the private session `schedule:<task>`, so that it neither waits for the conversation nor
holds it up; when it has ended, its answer is told in the conversation, on every channel
that reads it; what a crash left untold is told at the next start. Nobody is there who
could be asked: tools under `ask` are refused (2007).
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from agent.ports.sessions import SessionHead, SessionStore
from agent.sessions import records as kinds
from agent.tools.builtin.schedule_book import Due, Scheduler
from bus.context import new_id, timestamp
from bus.errors import GatewayError
from bus.events import Accepted, Actor, ChatDone, ChatError, Event, InboundMessage, JsonObject
from bus.keys import SessionKey

log = logging.getLogger("gateway.schedules")

CHANNEL = "schedule"
MADE_UP_SECONDS = 23 * 3600.0
"""How old an answer may be that is still told after a start: for a day it is known what was told already."""
PAGE = 200
Submit = Callable[[InboundMessage], Awaitable[Accepted]]
Tell = Callable[[InboundMessage, str], Awaitable[Accepted]]
Configure = Callable[[InboundMessage, JsonObject], Awaitable[None]]
ActorOf = Callable[[str], Actor | None]
"""Today's actor of a user; None where the user is gone."""


class SessionList(Protocol):
    """Where the sessions of scheduled tasks are found."""

    async def list_sessions(
        self, owner: str | None, *, limit: int, cursor: str | None = None, channel: str | None = None
    ) -> tuple[Sequence[SessionHead], str | None]: ...


class Schedules:
    """A service. `observe` is attached to the bus."""

    def __init__(
        self, scheduler: Scheduler, store: SessionStore, sessions: SessionList, *, submit: Submit,
        configure: Configure, tell: Tell, actor_of: ActorOf,
    ) -> None:  # fmt: skip
        self._scheduler = scheduler
        self._store = store
        self._sessions = sessions
        self._submit = submit
        self._configure = configure
        self._tell = tell
        self._actor_of = actor_of
        self._ended: asyncio.Queue[ChatDone | ChatError] = asyncio.Queue(1000)

    async def run(self) -> None:
        """Hand over what is due and tell what came of it, until cancelled."""
        await self._make_up()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._scheduler.run(self._due), name="scheduler")
            while True:
                await self._told(await self._ended.get())

    def observe(self, event: Event) -> None:
        """Note the ends of scheduled turns."""
        if isinstance(event, ChatDone | ChatError) and event.session.scope and event.session.text.startswith(CHANNEL):
            try:
                self._ended.put_nowait(event)
            except asyncio.QueueFull:
                log.error("too many scheduled answers at once: one is only in its own session")

    async def _due(self, due: Due) -> None:
        actor = self._actor_of(due.task.user)
        if actor is None and due.task.identity:  # somebody of a platform, who has no account here
            actor = Actor(user=due.task.user, scopes=frozenset({"chat", "tools"}), language=due.task.language)
        if actor is None:
            log.info("a scheduled task of a user who is gone is dropped")
            return
        message = InboundMessage(
            session=due.lane,
            actor=Actor(user=actor.user, role=actor.role, scopes=actor.scopes, channel=CHANNEL,
                        identity=due.task.identity, language=due.task.language),
            text=due.prompt, message_id=new_id("msg"), received_at=time.time(),
            idempotency_key=due.idempotency_key,
        )  # fmt: skip
        await self._configure(message, {"tell": due.task.session, "asked": due.task.text})
        await self._submit(message)

    async def _make_up(self) -> None:
        """Tell what ended lately and was not told: the house went down in between, or the disk was full."""
        since, cursor = timestamp(time.time() - MADE_UP_SECONDS), None
        try:
            while True:
                heads, cursor = await self._sessions.list_sessions(None, limit=PAGE, cursor=cursor, channel=CHANNEL)
                for head in heads:
                    if head.updated_at >= since:
                        await self._make_up_of(head.key, since)
                if cursor is None or not heads or heads[-1].updated_at < since:
                    return
        except GatewayError as error:
            log.warning("scheduled answers of the time before are not looked for: %s", error.message)

    async def _make_up_of(self, key: SessionKey, since: str) -> None:
        for record in await self._store.read(key, types=kinds.ENDS_TURN, limit=PAGE, newest=True):
            if record.timestamp >= since:
                data = record.data
                text = data.get("text") if record.type == kinds.DONE else data.get("message")
                await self._tell_of(key, str(data["message_id"]), text or "")

    async def _told(self, event: ChatDone | ChatError) -> None:
        text = event.text if isinstance(event, ChatDone) else event.message
        await self._tell_of(event.session, event.message_id, text)

    async def _tell_of(self, session: SessionKey, message_id: str, text: str) -> None:
        """Tell the answer where the task was asked for; a repeat tells nothing twice."""
        try:
            state = await self._store.state(session)
        except GatewayError as error:
            log.warning("a scheduled answer is only in its own session: %s", error.message)
            return
        place = None if state is None else state.head.settings.get("tell")
        if state is None or place is None:
            return
        actor = self._actor_of(session.scope) or Actor(user=session.scope)
        message = InboundMessage(
            session=SessionKey.from_identity(place), actor=actor, text=f"⏰ {state.head.settings.get('asked', '')}",
            message_id=new_id("msg"), received_at=time.time(), idempotency_key=f"told:{message_id}",
        )  # fmt: skip
        try:
            await self._tell(message, text)
        except GatewayError as error:
            log.warning("a scheduled answer could not be told: %s", error.message)

"""The acceptor: inbound messages into the log, then into their session's lane.

One lane a session and one turn at a time in it, lanes side by side; a lane without
work keeps neither task nor memory. A slash command is recognised here and nowhere
else, before the lane, so that `/stop` overtakes. Turns belong to this loop and never
to a connection. Above is the bus, below are the log, `runner.py` and the supervisor.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent import acceptance
from agent.conversations import Conversations
from agent.lane import Held, Lane, Pending, record
from agent.lanes import Lanes
from agent.ports import Accountant, SessionStore
from agent.recovery import pending_turns
from agent.runner import ABORT, PAUSE, REFUSED, Supervisor, TurnRunner
from agent.sessions import records as kinds
from agent.settings import AgentSettings, LimitSettings
from agent.summaries import Summaries, Summarise
from bus import commands, context, events
from bus.errors import GatewayError, IdempotencyConflict, Overloaded
from bus.events import Accepted, InboundMessage, JsonObject
from bus.keys import SessionKey
from bus.message_bus import MessageBus
from bus.wording import explain

log = logging.getLogger("agent.loop")

RunCommand = Callable[["AgentLoop", commands.Command, str, InboundMessage], Awaitable[str]]


class AgentLoop(Conversations):
    """Accepts messages, runs turns, and is what the handlers ask about them."""

    def __init__(
        self, *, bus: MessageBus, store: SessionStore, supervisor: Supervisor, limits: LimitSettings,
        settings: AgentSettings, run_command: RunCommand, platforms: frozenset[str] = frozenset(),
        open_turns: Callable[[], Awaitable[list[SessionKey]]], accountant: Accountant | None = None,
        compactor: Summarise | None = None,
    ) -> None:  # fmt: skip
        super().__init__(Lanes(store, bus.publish, settings), platforms)
        self._bus = bus
        self._store = store
        self._limits = limits
        self._settings = settings
        self._run_command = run_command
        self._open_turns = open_turns
        self._runner = TurnRunner(supervisor, limits, accountant)
        self._summaries = None if compactor is None else Summaries(self._lanes, compactor)
        self._tasks: asyncio.TaskGroup | None = None
        self._accepting: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._draining = False
        self._resuming: set[SessionKey] = set()
        """Sessions whose open turns are still being read: nothing starts there before."""
        self._running = 0
        self._quiet = asyncio.Event()
        self.accepting = asyncio.Event()
        """Set once messages are taken in."""
        self.turns = 0
        """Turns ended since the start."""

    # ------------------------------------------------------------ the service

    async def run(self) -> None:
        """Accept and answer until cancelled; first, take up what was left unfinished."""
        async with asyncio.TaskGroup() as tasks:
            self._resuming = set(await self._open_turns())
            self._tasks = tasks
            leave = self._bus.accept_with(self.accept)
            self.accepting.set()
            try:
                for key in tuple(self._resuming):
                    await self._resume(key)
                await asyncio.Event().wait()
            finally:
                leave()
                self._tasks = None

    async def _resume(self, key: SessionKey) -> None:
        """Take up what a session left unfinished, before anything that has come since."""
        lane = await self._lanes.enter(key)
        try:
            for pending in await pending_turns(self._store, key):
                if lane.head is not None and not lane.head.listed:
                    await self._end_queued(lane, pending, "the program that asked is gone")
                elif all(pending.message.message_id != waiting.message.message_id for waiting in lane.queue):
                    lane.queue.append(pending)
            lane.queue = deque(sorted(lane.queue, key=lambda pending: pending.seq))
            if any(not lane.window.holds(pending.message.message_id) for pending in lane.queue):
                await self._lanes.reload(lane)
        except Exception:  # one session that can't be read must not keep the house from starting
            log.exception("a session could not be taken up again")
        finally:
            self._resuming.discard(key)
            self._next(lane)
            self._lanes.leave(lane)

    async def drain(self, seconds: float) -> None:
        """Take nothing more in, let turns finish for `seconds`, then pause what still runs."""
        self._draining = self._runner.stopping = True
        try:
            async with asyncio.timeout(seconds):
                while self._running:
                    self._quiet.clear()
                    await self._quiet.wait()
        except TimeoutError:
            pass
        for lane in self._lanes.working():
            self._cut(lane, PAUSE)
        while self._running:
            self._quiet.clear()
            await self._quiet.wait()

    # ------------------------------------------------------------ accepting

    async def accept(self, message: InboundMessage) -> Accepted:
        """Make `message` durable and give it its turn.

        Raises Overloaded (queue full, stopping, disk full), IdempotencyConflict, BadParameters.
        """
        if self._tasks is None or self._draining:
            raise Overloaded("the assistant is starting or stopping", retry_after_ms=1000)
        digest = acceptance.content_hash(message)
        if not message.trace_id:
            message = replace(message, trace_id=context.current_trace_id())
        if message.idempotency_key is None:
            return await self._accept_new(message, digest)
        ticket = (message.actor.user, message.idempotency_key)
        while (first := self._accepting.get(ticket)) is not None:
            await asyncio.wait([first])
        mine = self._accepting[ticket] = asyncio.get_running_loop().create_future()
        try:
            before = await self._store.duplicate(*ticket)
            if before is None:
                return await self._accept_new(message, digest)
        finally:
            del self._accepting[ticket]
            mine.set_result(None)
        if before.content_hash != digest:
            raise IdempotencyConflict("this idempotency key was used for another message")
        return Accepted(message_id=before.message_id, session=before.session, seq=before.seq, repeated=True)

    async def _accept_new(self, message: InboundMessage, digest: str) -> Accepted:
        lane = await self._lanes.enter(message.session)
        try:
            command = commands.parse(message.text)
            if command is not None and message.wants_reply:
                return await self._accept_command(lane, message, digest, *command)
            if message.wants_reply and len(lane.queue) >= self._limits.queued_messages_per_session:
                raise Overloaded("too many messages are waiting in this session", retry_after_ms=2000)
            if self._takes_the_place(lane, message):
                self._cut(lane, ABORT)
            return await self._keep(lane, message, digest)
        finally:
            self._lanes.leave(lane)

    def _takes_the_place(self, lane: Lane, message: InboundMessage) -> bool:
        """Whether the running turn ends for this message: it was edited, or its speaker wants it so."""
        if message.replaces is not None and message.replaces == lane.current:
            return True
        return message.wants_reply and lane.speaker == message.actor.user and self._queue(lane) == "interrupt"

    async def _keep(self, lane: Lane, message: InboundMessage, digest: str) -> Accepted:
        """Record the message and queue its turn, which may ask the model while the disk works."""
        seq = lane.take()
        head = None if lane.exists else acceptance.new_head(message, self._platforms)
        held = lane.hold(acceptance.announcement(message, seq) if message.wants_reply else None)
        durable = lane.append(record(seq, kinds.MESSAGE, acceptance.to_data(message, digest)), head=head)
        pending = Pending(message, seq, durable)
        if message.wants_reply:
            lane.queue.append(pending)
            self._next(lane)
        return await self._durable(lane, durable, held, message, seq, pending, began=head is not None)

    async def _durable(
        self, lane: Lane, durable: "asyncio.Future[None]", held: Held, message: InboundMessage, seq: int,
        pending: Pending | None, *, began: bool,
    ) -> Accepted:  # fmt: skip
        """Wait for the disk; `began`: these records are the session's first."""
        try:
            await asyncio.shield(durable)
        except asyncio.CancelledError:
            # The sender left; his message stays, if the disk takes it.
            durable.add_done_callback(
                lambda done: (
                    self._refuse(lane, held, message, pending, began)
                    if done.cancelled() or done.exception()
                    else lane.release(held)
                )
            )
            raise
        except GatewayError:
            self._refuse(lane, held, message, pending, began)
            raise
        # In the next round of the event loop, so that the sender's result comes before the first event.
        asyncio.get_running_loop().call_soon(lane.release, held)
        return Accepted(message_id=message.message_id, session=lane.key, seq=seq)

    def _refuse(self, lane: Lane, held: Held, message: InboundMessage, pending: Pending | None, began: bool) -> None:
        """The disk refused the message: neither it nor its turn leaves a trace."""
        lane.spoiled = True
        if began:
            lane.exists, lane.head = False, None
        if pending is not None:
            pending.refused = True
            if pending in lane.queue:
                lane.queue.remove(pending)
            elif lane.current == message.message_id:
                self._cut(lane, REFUSED)
        lane.drop(message.message_id)
        lane.release(held, keep=False)

    async def _accept_command(
        self, lane: Lane, message: InboundMessage, digest: str, command: commands.Command, arguments: str
    ) -> Accepted:
        """Do it, then record question and answer as one: a command is never done twice by a restart."""
        try:
            text = await self._run_command(self, command, arguments, message)
        except GatewayError as error:
            text = explain(error.code, error.message, message.actor.language)
        return await self._keep_answered(lane, message, digest, text, command.name)

    async def tell(self, message: InboundMessage, answer: str) -> Accepted:
        """Put a question and its answer into a session, as if it had been asked there: once for a key.

        Raises what `accept` does.
        """
        if message.idempotency_key is not None:
            before = await self._store.duplicate(message.actor.user, message.idempotency_key)
            if before is not None:
                return Accepted(message_id=before.message_id, session=before.session, seq=before.seq, repeated=True)
        lane = await self._lanes.enter(message.session)
        try:
            return await self._keep_answered(lane, message, acceptance.content_hash(message), answer, "")
        finally:
            self._lanes.leave(lane)

    async def _keep_answered(
        self, lane: Lane, message: InboundMessage, digest: str, text: str, command: str
    ) -> Accepted:
        """Question and answer as one append, and their events."""
        key, message_id = lane.key, message.message_id
        first = lane.take()
        started, delta, last = lane.take(), lane.take(), lane.take()
        head = None if lane.exists else acceptance.new_head(message, self._platforms)
        question = acceptance.to_data(message, digest) | {"command": command}
        answer: JsonObject = {"message_id": message_id, "role": "assistant", "text": text, "finish_reason": "stop",
                              "usage": {}, "command": command}  # fmt: skip
        held = lane.hold(acceptance.announcement(message, first))
        answered = record(last, kinds.DONE, answer)
        durable = lane.append(record(first, kinds.MESSAGE, question), answered, head=head)
        mode = "command" if command else "told"
        lane.emit(events.ChatStarted(session=key, message_id=message_id, seq=started, mode=mode, model="", attempt=1))
        lane.emit(events.ChatDelta(key, message_id, delta, text))
        lane.emit(events.ChatDone(session=key, message_id=message_id, seq=last, text=text, finish_reason="stop",
                                  usage=events.Usage(), at=answered.timestamp))  # fmt: skip
        return await self._durable(lane, durable, held, message, first, None, began=head is not None)

    # ------------------------------------------------------------ turns

    def _next(self, lane: Lane) -> None:
        """Start the next turn of the lane, if none runs."""
        if lane.task is not None or not lane.queue or self._tasks is None or self._runner.stopping:
            return
        if lane.key in self._resuming:
            return
        pending = lane.queue.popleft()
        lane.current = pending.message.message_id
        lane.speaker = pending.message.actor.user
        lane.abort_reason = ""
        self._running += 1
        lane.task = self._tasks.create_task(self._turn(lane, pending), name=f"turn {lane.current}")

    async def _turn(self, lane: Lane, pending: Pending) -> None:
        message, queue = pending.message, self._queue(lane)

        async def prepare() -> None:
            if lane.spoiled:
                await self._lanes.reload(lane, pending)
            if queue == "collect":
                await self._gather(lane, pending)

        try:
            await self._runner.run(lane, pending, queue, prepare)
        except Exception:  # a fault of ours: this turn is taken up again at the next start, the others go on now
            log.exception("a turn ended without an end")
        finally:
            self._remember_end(message)
            for item in pending.merged:
                self._remember_end(item.message)
            self.turns += 1
            self._running -= 1
            self._quiet.set()
            lane.current = lane.task = None
            self._next(lane)
            if self._summaries is not None and self._tasks is not None and not self._draining and lane.task is None:
                self._summaries.look(lane, self._tasks)
            self._lanes.let_go(lane)

    def _queue(self, lane: Lane) -> str:
        """What a message does in this session that comes while a turn runs."""
        channel = "" if lane.head is None else lane.head.channel
        return str(lane.settings.get("queue") or self._settings.queues.get(channel) or self._settings.queue)

    async def _gather(self, lane: Lane, pending: Pending) -> None:
        """Wait for the rest of a burst, then answer it in one."""
        until = time.monotonic() + 2 * self._settings.gather_seconds
        waiting = -1
        while waiting != len(lane.queue) and time.monotonic() < until:
            waiting = len(lane.queue)
            await asyncio.sleep(self._settings.gather_seconds)
        lane.absorb(pending)

    def stats(self) -> JsonObject:
        """For `/status` and the metrics."""
        working = self._lanes.working()
        return {
            "running": self._running,
            "queued": sum(len(lane.queue) for lane in working),
            "waiting_for_slot": self._runner.slots.waiting,
            "lanes": len(working),
            "turns": self.turns,
        }

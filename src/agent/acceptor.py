"""The acceptor: an inbound message into the log, and then to its session's lane.

A slash command is recognised here and nowhere else, before the lane, so that `/stop`
overtakes. Above is the bus, which hands messages in; `loop.py` runs the turns that
begin here. What it promises: what is accepted is on the disk, once for its key, and
what the disk refused leaves no trace.
"""

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from dataclasses import replace

from agent import acceptance
from agent.conversations import Conversations
from agent.lane import Held, Lane, Pending, record
from agent.lanes import Lanes
from agent.ports.sessions import SessionStore
from agent.runner import ABORT, REFUSED
from agent.sessions import records as kinds
from agent.settings import LimitSettings
from bus import commands, context, events
from bus.errors import GatewayError, IdempotencyConflict, Overloaded
from bus.events import Accepted, InboundMessage, JsonObject
from bus.keys import SessionKey
from bus.wording import explain

RunCommand = Callable[["Acceptor", commands.Command, str, InboundMessage], Awaitable[str]]


class Acceptor(Conversations):
    """Takes messages in; who runs their turns says so by `_next`."""

    def __init__(
        self, lanes: Lanes, store: SessionStore, limits: LimitSettings, run_command: RunCommand,
        platforms: frozenset[str],
    ) -> None:  # fmt: skip
        super().__init__(lanes, platforms)
        self._store = store
        self._limits = limits
        self._run_command = run_command
        self._accepting: dict[tuple[str, str], asyncio.Future[None]] = {}
        self._commands: set[asyncio.Task[Accepted]] = set()
        """Slash commands under way: they are done to their end, whoever leaves."""

    @property
    @abstractmethod
    def taking_in(self) -> bool:
        """Whether messages are accepted now."""

    @abstractmethod
    def _queue(self, lane: Lane) -> str:
        """What a message does in this session that comes while a turn runs."""

    def queue_mode(self, key: SessionKey) -> str:
        """What a message does there that comes while a turn runs; '' where the session has no work now."""
        lane = self._lanes.get(key)
        return "" if lane is None else self._queue(lane)

    async def accept(self, message: InboundMessage) -> Accepted:
        """Make `message` durable and give it its turn.

        Raises Overloaded (queue full, stopping, disk full), IdempotencyConflict, BadParameters.
        """
        if not self.taking_in:
            raise Overloaded("the assistant is starting or stopping", retry_after_ms=1000)
        digest = acceptance.content_hash(message)
        if not message.trace_id:
            message = replace(message, trace_id=context.current_trace_id())
        accepting = self._once(message, digest, lambda: self._accept_new(message, digest))
        if not message.wants_reply or commands.parse(message.text) is None:
            return await accepting
        # What it does comes before its record: a sender who leaves in between must not have it done again.
        task = asyncio.create_task(accepting)
        self._commands.add(task)
        task.add_done_callback(self._command_over)
        return await asyncio.shield(task)

    async def _once(
        self, message: InboundMessage, digest: str, accept: Callable[[], Awaitable[Accepted]]
    ) -> Accepted:  # fmt: skip
        """`accept`, if nothing came under the message's key yet; who comes under a key that is at work waits."""
        if message.idempotency_key is None:
            return await accept()
        ticket = (message.actor.user, message.idempotency_key)
        while (first := self._accepting.get(ticket)) is not None:
            await asyncio.wait([first])
        mine = self._accepting[ticket] = asyncio.get_running_loop().create_future()
        try:
            before = await self._store.duplicate(*ticket)
            if before is None:
                return await accept()
        finally:
            del self._accepting[ticket]
            mine.set_result(None)
        if before.content_hash != digest:
            raise IdempotencyConflict("this idempotency key was used for another message")
        return Accepted(message_id=before.message_id, session=before.session, seq=before.seq, repeated=True)

    def _command_over(self, task: "asyncio.Task[Accepted]") -> None:
        self._commands.discard(task)
        if not task.cancelled():
            task.exception()  # a sender who left does not look at it

    async def _end_commands(self) -> None:
        """Nobody is served any more: what still runs is cut."""
        for task in self._commands:
            task.cancel()
        await asyncio.gather(*self._commands, return_exceptions=True)

    async def _accept_new(self, message: InboundMessage, digest: str) -> Accepted:
        await self._catch_up(message.session)  # it may stop, edit or interrupt what was left there
        lane = await self._lanes.enter(message.session)
        try:
            command = commands.parse(message.text) if message.wants_reply else None
            edited = [one for one in lane.queue if one.message.message_id == message.replaces]
            waiting = len(lane.queue) - len(edited)
            if message.wants_reply and command is None and waiting >= self._limits.queued_messages_per_session:
                raise Overloaded("too many messages are waiting in this session", retry_after_ms=2000)
            for pending in edited:
                lane.queue.remove(pending)  # edited before its turn came: only the edited one is answered
                await self._end_queued(lane, pending, "stopped")
            if self._takes_the_place(lane, message, interrupts=command is None):
                self._cut(lane, ABORT)
            if command is not None:
                return await self._accept_command(lane, message, digest, *command)
            return await self._keep(lane, message, digest)
        finally:
            self._lanes.leave(lane)

    def _takes_the_place(self, lane: Lane, message: InboundMessage, *, interrupts: bool) -> bool:
        """Whether the running turn ends for this message: it was edited, or its speaker wants it so."""
        if message.replaces is not None and lane.answering(message.replaces):
            return True
        return (
            interrupts
            and message.wants_reply
            and lane.speaker == message.actor.user
            and self._queue(lane) == "interrupt"
        )

    async def _keep(self, lane: Lane, message: InboundMessage, digest: str) -> Accepted:
        """Record the message and queue its turn, which may ask the model while the disk works."""
        seq = lane.take()
        head = None if lane.exists else acceptance.new_head(message, self._platforms)
        held = lane.hold(acceptance.announcement(message, seq) if message.wants_reply else None)
        durable = lane.append(
            record(seq, kinds.MESSAGE, acceptance.to_data(message, digest)), head=head, under=lane.head
        )
        pending = Pending(message, seq, durable)
        if message.wants_reply:
            lane.queue.append(pending)
            self._next(lane)
        return await self._durable(lane, durable, held, message, seq, pending)

    async def _durable(
        self, lane: Lane, durable: "asyncio.Future[None]", held: Held, message: InboundMessage, seq: int,
        pending: Pending | None,
    ) -> Accepted:  # fmt: skip
        """Wait for the disk."""
        try:
            await asyncio.shield(durable)
        except asyncio.CancelledError:
            # The sender left; his message stays, if the disk takes it.
            durable.add_done_callback(
                lambda done: (
                    self._refuse(lane, held, message, pending)
                    if done.cancelled() or done.exception()
                    else lane.release(held)
                )
            )
            raise
        except GatewayError:
            self._refuse(lane, held, message, pending)
            raise
        # In the next round of the event loop, so that the sender's result comes before the first event.
        asyncio.get_running_loop().call_soon(lane.release, held)
        return Accepted(message_id=message.message_id, session=lane.key, seq=seq)

    def _refuse(self, lane: Lane, held: Held, message: InboundMessage, pending: Pending | None) -> None:
        """The disk refused the message: neither it nor its turn leaves a trace."""
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
        digest = acceptance.content_hash(message)

        async def keep() -> Accepted:
            lane = await self._lanes.enter(message.session)
            try:
                return await self._keep_answered(lane, message, digest, answer, "")
            finally:
                self._lanes.leave(lane)

        return await self._once(message, digest, keep)

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
        durable = lane.append(record(first, kinds.MESSAGE, question), answered, head=head, under=lane.head)
        mode = "command" if command else "told"
        lane.emit(events.ChatStarted(session=key, message_id=message_id, seq=started, mode=mode, model="", attempt=1))
        lane.emit(events.ChatDelta(key, message_id, delta, text))
        lane.emit(events.ChatDone(session=key, message_id=message_id, seq=last, text=text, finish_reason="stop",
                                  usage=events.Usage(), at=answered.timestamp))  # fmt: skip
        self._remember_end(message)
        return await self._durable(lane, durable, held, message, first, None)

"""What can be asked of sessions and their turns beside saying something: stop, rename, delete, configure.

The part of the loop that the handlers and the slash commands call. It works on the
lanes and on nothing else; who may ask was decided before (`gateway/handlers/access.py`).
"""

import asyncio
from abc import abstractmethod
from collections import OrderedDict, deque
from dataclasses import replace

from agent import acceptance
from agent.lane import Lane, Pending, record
from agent.lanes import Lanes
from agent.runner import ABORT
from agent.sessions import records as kinds
from bus import events
from bus.errors import CallCancelled, NotFound
from bus.events import Actor, InboundMessage, JsonObject
from bus.keys import SessionKey

REMEMBERED_ENDS = 4096


class Conversations:
    """The lanes, as far as somebody else may steer them."""

    def __init__(self, lanes: Lanes, platforms: frozenset[str]) -> None:
        self._lanes = lanes
        self._platforms = platforms
        self._ended: OrderedDict[str, str] = OrderedDict()

    async def abort(self, *, user: str, key: SessionKey | None = None, message_id: str | None = None) -> bool:
        """Stop a turn: the running one of `key`, or the one of `message_id`, queued or running.

        A message that was merged into another turn has that one: it ends, with all that it answers.
        The caller has checked that `key` is this user's. False: there was nothing to stop.
        Raises NotFound for a message that is not this user's, Overloaded.
        """
        if message_id is None:
            await self._catch_up(key)
            lane = self._lanes.get(key) if key is not None else None
            return lane is not None and self._cut(lane, ABORT)
        found = await self._abort_message(user, key, message_id)
        if found is None:
            await self._catch_up(key)
            found = await self._abort_message(user, key, message_id)
        if found is None:
            raise NotFound("no such message")
        return found

    async def _abort_message(self, user: str, key: SessionKey | None, message_id: str) -> bool | None:
        """Whether it was stopped; None where nothing is known of it."""
        for lane in self._lanes.working():
            if key is not None and lane.key != key:
                continue
            for pending in lane.queue:
                if pending.message.message_id == message_id and pending.message.actor.user == user:
                    lane.queue.remove(pending)
                    await self._end_queued(lane, pending, "stopped")
                    return True
            if lane.answering(message_id) and lane.speaker == user:
                return self._cut(lane, ABORT)
        return False if self._ended.get(message_id) == user else None

    def running(self, key: SessionKey) -> str | None:
        """The message_id of the turn that runs in `key`."""
        lane = self._lanes.get(key)
        return None if lane is None else lane.current

    def last_seq(self, key: SessionKey) -> int | None:
        """The last number handed out, while the session has work; else ask the store."""
        lane = self._lanes.get(key)
        return None if lane is None else lane.seq

    async def update(self, key: SessionKey, changes: JsonObject) -> None:
        """Record changed settings of a session (`mode`, `reset`, `owner`, ...). Raises NotFound."""
        await self._update(key, changes, title=None)

    async def configure(self, message: InboundMessage, changes: JsonObject) -> None:
        """Change settings of the session of `message`, which need not exist yet."""
        lane = await self._lanes.enter(message.session)
        try:
            if not lane.exists:
                head = acceptance.new_head(message, self._platforms)
                seq = lane.take()
                durable = lane.append(record(seq, kinds.UPDATED, changes), head=replace(head, settings=changes))
                lane.emit_when(durable, events.SessionUpdated(session=message.session, message_id="", seq=seq))
                await asyncio.shield(durable)
                return
        finally:
            self._lanes.leave(lane)
        await self.update(message.session, changes)

    async def rename(self, key: SessionKey, title: str) -> str:
        """Give the session a title; the title as kept. Raises NotFound."""
        kept = acceptance.title_of(title)
        await self._update(key, {"title": kept}, title=kept)
        return kept

    async def _update(self, key: SessionKey, changes: JsonObject, *, title: str | None, deleted: bool = False) -> None:
        lane = await self._lanes.enter(key)
        try:
            if not lane.exists:
                raise NotFound("no such session")
            seq = lane.take()
            durable = lane.append(record(seq, kinds.UPDATED, changes))
            if lane.head is not None:
                lane.head = replace(lane.head, settings=lane.head.settings | changes)
            lane.emit_when(
                durable, events.SessionUpdated(session=key, message_id="", seq=seq, title=title, deleted=deleted)
            )
            lane.exists = not deleted  # from here on, not from when it is durable: what comes now begins a new one
            await asyncio.shield(durable)
        finally:
            self._lanes.leave(lane)

    async def stop_all(self, key: SessionKey) -> bool:
        """Stop the running turn and what waits behind it; returns when they have ended. Raises Overloaded."""
        await self._catch_up(key)
        lane = await self._lanes.enter(key)
        try:
            task = lane.task
            stopped = self._cut(lane, ABORT)  # first: it should not come to its end while the others are ended
            if lane.queue:
                waiting, lane.queue = lane.queue, deque()
                await asyncio.gather(*(self._end_queued(lane, pending, "stopped") for pending in waiting))
                stopped = True
            if task is not None:
                await asyncio.wait([task])
            return stopped
        finally:
            self._lanes.leave(lane)

    async def delete(self, key: SessionKey, actor: Actor) -> None:
        """Stop its turns and leave a tombstone. Raises NotFound, Overloaded."""
        await self._catch_up(key)
        lane = await self._lanes.enter(key)
        try:
            while lane.task is not None or lane.queue:  # what came while the last one ended, too
                await self.stop_all(key)
            # The lane is there, so between this look and the record nothing waits: no turn writes behind a tombstone.
            await self._update(key, {"deleted": True, "by": actor.user}, title=None, deleted=True)
        finally:
            self._lanes.leave(lane)

    # ------------------------------------------------------------ ends

    def _remember_end(self, message: InboundMessage) -> None:
        self._ended[message.message_id] = message.actor.user
        if len(self._ended) > REMEMBERED_ENDS:
            self._ended.popitem(last=False)

    def _cut(self, lane: Lane, reason: str) -> bool:
        if lane.task is None or lane.abort_reason or lane.ending:
            return False
        lane.abort_reason = reason
        return lane.task.cancel() if lane.begun else True  # its task, once it runs, sees the reason

    async def _end_queued(self, lane: Lane, pending: Pending, text: str) -> None:
        if not pending.kept:
            return  # the disk has refused it, as its sender is about to be told
        message_id = pending.message.message_id
        seq = lane.take()
        data = {"message_id": message_id, "code": CallCancelled.code, "message": text, "retryable": False}
        durable = lane.append(record(seq, kinds.ERROR, data))
        event = events.ChatError(session=lane.key, message_id=message_id, seq=seq, code=CallCancelled.code,
                                 message=text, retryable=False, trace_id=pending.message.trace_id)  # fmt: skip
        # Whoever asked for it may leave meanwhile; and before the event lets go of the lane.
        durable.add_done_callback(lambda done: self._ended_or_not(lane, pending, done))
        lane.emit_when(durable, event)
        await asyncio.shield(durable)

    def _ended_or_not(self, lane: Lane, pending: Pending, durable: "asyncio.Future[None]") -> None:
        if not durable.cancelled() and durable.exception() is None:
            self._remember_end(pending.message)
            return
        if pending.kept:  # it was not stopped: it waits as before
            self._requeue(lane, pending)
            self._next(lane)

    @staticmethod
    def _requeue(lane: Lane, *again: Pending) -> None:
        """Back to where they waited."""
        lane.queue = deque(sorted((*lane.queue, *again), key=lambda pending: pending.seq))

    @abstractmethod
    def _next(self, lane: Lane) -> None:
        """Something was queued: start the lane's next turn, if none runs."""

    @abstractmethod
    async def _catch_up(self, key: SessionKey | None) -> None:
        """Take up now what was left unfinished before the start in `key`, or everywhere. Raises Overloaded."""

"""The loop: what was accepted gets its turn, and what was left unfinished is taken up again.

One lane a session and one turn at a time in it, lanes side by side; a lane without
work keeps neither task nor memory. Turns belong to this loop and never to a
connection. Above is the bus, below are the acceptor, `runner.py` and the supervisor.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from agent.acceptor import Acceptor, RunCommand
from agent.lane import Lane, Pending
from agent.lanes import Lanes
from agent.ports.people import Accountant
from agent.ports.sessions import SessionStore
from agent.recovery import pending_turns
from agent.runner import PAUSE, Supervisor, TurnRunner
from agent.settings import AgentSettings, LimitSettings
from agent.summaries import Summaries, Summarise
from bus.errors import Overloaded
from bus.events import JsonObject
from bus.keys import SessionKey
from bus.message_bus import MessageBus

log = logging.getLogger("agent.loop")

STANDING_SECONDS = 0.1
"""How often it is looked, while the house stops, whether a turn has come to wait for a person."""
TAKE_UP_SECONDS = 1.0
"""Between two tries to read what a session left unfinished, while the disk refuses."""


class AgentLoop(Acceptor):
    """Accepts messages, runs turns, and is what the handlers ask about them."""

    def __init__(
        self, *, bus: MessageBus, store: SessionStore, supervisor: Supervisor, limits: LimitSettings,
        settings: AgentSettings, run_command: RunCommand, platforms: frozenset[str] = frozenset(),
        open_turns: Callable[[], Awaitable[list[SessionKey]]], accountant: Accountant | None = None,
        compactor: Summarise | None = None,
    ) -> None:  # fmt: skip
        super().__init__(Lanes(store, bus.publish, settings), store, limits, run_command, platforms)
        self._bus = bus
        self._settings = settings
        self._open_turns = open_turns
        self._runner = TurnRunner(supervisor, limits, accountant)
        self._summaries = None if compactor is None else Summaries(self._lanes, compactor)
        self._tasks: asyncio.TaskGroup | None = None
        self._draining = False
        self._resuming: dict[SessionKey, asyncio.Lock] = {}
        """Sessions whose open turns are still to be read, by one at a time: nothing starts there before."""
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
            self._resuming = {key: asyncio.Lock() for key in await self._open_turns()}
            self._tasks = tasks
            leave = self._bus.accept_with(self.accept)
            self.accepting.set()
            try:
                await self._take_up()
                await asyncio.Event().wait()
            finally:
                leave()
                self._tasks = None
                await self._end_commands()

    async def _take_up(self) -> None:
        """What was left unfinished, session by session; where the disk refuses now, again in a moment."""
        while self._resuming:
            for key in tuple(self._resuming):
                try:
                    await self._catch_up(key)
                except Overloaded as error:
                    log.warning("a session waits to be taken up again: %s", error.message)
            if self._resuming:
                await asyncio.sleep(TAKE_UP_SECONDS)

    async def _catch_up(self, key: SessionKey | None) -> None:
        for one in tuple(self._resuming) if key is None else (key,):
            if (reading := self._resuming.get(one)) is None:
                continue
            async with reading:
                if one not in self._resuming:
                    continue  # somebody else has done it meanwhile
                try:
                    await self._resume(one)
                except Overloaded:
                    raise
                except Exception:  # one session that can't be read must not keep the house from starting
                    log.exception("a session could not be taken up again")
                del self._resuming[one]
                if (lane := self._lanes.get(one)) is not None:
                    self._next(lane)

    async def _resume(self, key: SessionKey) -> None:
        """Take up what a session left unfinished, before anything that has come since. Raises GatewayError."""
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
        finally:
            self._lanes.leave(lane)

    async def drain(self, seconds: float) -> None:
        """Take nothing more in, let turns finish for `seconds`, then pause what still runs.

        A turn that waits for a person is paused at once: he may answer after the restart as well.
        """
        self._draining = self._runner.stopping = True
        try:
            async with asyncio.timeout(seconds):
                while self._running or self._commands:
                    for lane in self._lanes.working():
                        if lane.standing:
                            self._cut(lane, PAUSE)
                    self._quiet.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(STANDING_SECONDS):
                            await self._quiet.wait()
        except TimeoutError:
            pass
        for lane in self._lanes.working():
            self._cut(lane, PAUSE)
        while self._running:
            self._quiet.clear()
            await self._quiet.wait()

    # ------------------------------------------------------------ turns

    @property
    def taking_in(self) -> bool:
        """Whether messages are accepted now: not before the start, not while it stops."""
        return self._tasks is not None and not self._draining

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
        lane.begun = True

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
            if not pending.kept:  # it was nobody's turn: what had joined it has one of its own
                self._requeue(lane, *(item for item in pending.merged if item.kept))
            self.turns += 1
            self._running -= 1
            self._quiet.set()
            lane.forget_uncovered()
            lane.current = lane.task = None
            lane.joined.clear()
            lane.begun = lane.standing = False
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

"""Keeps windows short: has the older part of a talk told in short, off the reply path, and records it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agent.lane import Lane, record
from agent.lanes import Lanes
from agent.sessions import records as kinds
from bus import events
from bus.errors import GatewayError
from bus.events import JsonObject
from bus.keys import SessionKey

log = logging.getLogger("agent.loop")

Summarise = Callable[[list[JsonObject], str], Awaitable[str]]
"""(messages, the user on whose account) -> what they say in short; '' where it can't be done."""
COMPACT_AT = 0.75
"""The share of the window from which on its older half is told in short."""


class Summaries:
    """One for the loop, whose tasks it uses."""

    def __init__(self, lanes: Lanes, summarise: Summarise) -> None:
        self._lanes = lanes
        self._summarise_text = summarise
        self._under_way: set[SessionKey] = set()

    def look(self, lane: Lane, tasks: asyncio.TaskGroup) -> None:
        """After a turn: begin, where the window is nearly full."""
        messages, upto = lane.window.to_summarise(COMPACT_AT)
        if messages and lane.key not in self._under_way:
            self._under_way.add(lane.key)
            tasks.create_task(self._summarise(lane.key, messages, upto, lane.speaker), name="compaction")

    async def _summarise(self, key: SessionKey, messages: list[JsonObject], upto: int, user: str) -> None:
        try:
            text = await self._summarise_text(messages, user)
            if text:
                await self._kept_summary(key, text, upto)
        except GatewayError as error:
            log.warning("a session could not be told in short: %s", error.message)
        except Exception:  # whatever broke on the way (the account book, too), the loop whose task this is must live
            log.exception("a session could not be told in short")
        finally:
            self._under_way.discard(key)

    async def _kept_summary(self, key: SessionKey, text: str, upto: int) -> None:
        lane = await self._lanes.enter(key)
        try:
            if not lane.exists or lane.spoiled or not lane.window.reaches(upto):
                return  # /new, a deletion or an edit came meanwhile: nobody asks for what was before any more
            seq = lane.take()
            durable = lane.append(record(seq, kinds.SUMMARY, {"text": text, "upto": upto}))
            note = events.AgentNote(session=key, message_id="", seq=seq, agent="supervisor", state="compacted")
            lane.emit_when(durable, note)
            await asyncio.shield(durable)
        finally:
            self._lanes.leave(lane)

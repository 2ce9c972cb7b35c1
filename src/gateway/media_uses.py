"""Which sessions refer to which files, so that a file goes with the last session that does.

One SQLite file, `media.db`. Above are the bus that everyone but the agent sees (a message's files, before it is handed
in), the events of tools that gave files, and the end of a session. Below is the media folder, which alone removes.
A file that no session has referred to yet stays: it was uploaded to be sent later.
"""

import asyncio
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Protocol, TypeVar

from agent.ports.sessions import SessionState
from bus.errors import GatewayError, Overloaded
from bus.events import Event, InboundMessage, MediaRef, ToolFinished
from bus.keys import SessionKey
from gateway.database import open_database
from gateway.identity.media import MediaFolder

_SCHEMA = """
CREATE TABLE IF NOT EXISTS uses (
    session TEXT NOT NULL, media_id TEXT NOT NULL, at REAL NOT NULL, PRIMARY KEY (session, media_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uses_of ON uses (media_id);
"""
VERSION = 1
T = TypeVar("T")
_log = logging.getLogger("gateway.media")


class Sessions(Protocol):
    """What is asked of the sessions' store."""

    async def state(self, key: SessionKey) -> SessionState | None: ...


class MediaUses:
    """The book at `path` of the files in `folder`."""

    def __init__(self, path: Path, folder: MediaFolder, sessions: Sessions) -> None:
        """Raises what `open_database` raises."""
        self._folder = folder
        self._sessions = sessions
        self._lock = threading.Lock()
        self._connection = open_database(path, _SCHEMA, VERSION, synchronous="FULL")
        self._noting: set[asyncio.Task[None]] = set()

    async def taken(self, message: InboundMessage) -> None:
        """A message with files is about to be handed in. Raises NotFound where one is gone, Overloaded."""
        if message.media and not message.ephemeral:  # what is sent to an ephemeral one is passing anyway
            await self._run(lambda: self._note(message.session, _ids(message.media)))

    def observe(self, event: Event) -> None:
        """A tool gave files."""
        if isinstance(event, ToolFinished) and event.media:
            task = asyncio.get_running_loop().create_task(self._given(event.session, event.media))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _given(self, session: SessionKey, media: tuple[MediaRef, ...]) -> None:
        try:
            state = await self._sessions.state(session)
            if state is not None and state.head.listed:
                await self._run(lambda: self._note(session, _ids(media)))
            else:
                await self._run(lambda: self._folder.let_pass(self._unused(_ids(media), "")))
        except GatewayError as error:
            _log.warning("a tool's files stay without their session: %s", error.message)

    async def session_ended(self, session: SessionKey, since: float) -> None:
        """It was deleted, by somebody who began at `since`: what it alone referred to until then goes with it.

        Raises Overloaded.
        """
        while self._noting:
            await asyncio.wait(self._noting)
        await self._run(lambda: self._end(session.identity, since))

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    # ------------------------------------------------------------ in a thread

    async def _run(self, work: Callable[[], T]) -> T:
        def alone() -> T:
            with self._lock, self._connection:
                return work()

        try:
            return await asyncio.to_thread(alone)
        except (sqlite3.Error, OSError) as error:
            raise Overloaded("this can't be kept on the disk", retry_after_ms=5000) from error

    def _note(self, session: SessionKey, media_ids: list[str]) -> None:
        self._folder.claim(media_ids)
        rows = [(session.identity, media_id, time.time()) for media_id in media_ids]
        self._connection.executemany("INSERT OR REPLACE INTO uses VALUES (?, ?, ?)", rows)

    def _end(self, session: str, since: float) -> None:
        found = self._connection.execute("SELECT media_id FROM uses WHERE session = ? AND at <= ?", (session, since))
        media_ids = [row[0] for row in found.fetchall()]
        self._folder.remove(self._unused(media_ids, session))
        self._connection.execute("DELETE FROM uses WHERE session = ? AND at <= ?", (session, since))

    def _unused(self, media_ids: list[str], session: str) -> list[str]:
        """Those that no session but `session` refers to."""
        used = "SELECT 1 FROM uses WHERE media_id = ? AND session <> ?"
        return [each for each in media_ids if self._connection.execute(used, (each, session)).fetchone() is None]


def _ids(media: Iterable[MediaRef]) -> list[str]:
    return [ref.media_id for ref in media]

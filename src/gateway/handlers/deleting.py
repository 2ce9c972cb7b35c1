"""A session goes, and with it what is kept for it elsewhere: questions that wait, and the files of it alone."""

import time
from typing import Protocol

from bus.errors import NotFound
from bus.events import Actor
from bus.keys import SessionKey
from gateway.handlers.ports import Asking, Turns


class Files(Protocol):
    """The book of which session refers to which file."""

    async def session_ended(self, session: SessionKey, since: float) -> None: ...


class Deleting:
    """Used by `session.delete` and `user.remove`."""

    def __init__(self, turns: Turns, asking: Asking, files: Files) -> None:
        self._turns = turns
        self._asking = asking
        self._files = files

    async def delete(self, key: SessionKey, by: Actor, *, gone_is_fine: bool = False) -> None:
        """Delete it. Raises NotFound, Overloaded. What comes to it meanwhile begins it anew, with its files."""
        since = time.time()
        try:
            await self._turns.delete(key, by)
        except NotFound:
            if not gone_is_fine:
                raise
        await self._asking.session_ended(key)
        await self._files.session_ended(key, since)

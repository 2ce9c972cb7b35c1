"""When an identity becomes another user's, its conversations go with it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from bus.errors import GatewayError
from bus.events import JsonObject
from bus.keys import KeyKind, SessionKey, take_apart

log = logging.getLogger("gateway.identity")


class Owned(Protocol):
    """Which sessions a user has."""

    async def owned_by(self, user: str) -> list[SessionKey]: ...


class Moves:
    """Moves sessions in the background; `settle` waits for what is under way. `expel` ends a user's reading of one."""

    def __init__(
        self, store: Owned, update: Callable[[SessionKey, JsonObject], Awaitable[None]],
        expel: Callable[[str, SessionKey], None], platforms: frozenset[str],
    ) -> None:  # fmt: skip
        self._store = store
        self._update = update
        self._expel = expel
        self._platforms = platforms
        self._tasks: set[asyncio.Task[None]] = set()

    def begin(self, identity: str, before: str, after: str) -> None:
        """`identity` (`channel:account:id`) was `before` and is now `after`."""
        if before == after:
            return
        task = asyncio.get_running_loop().create_task(self._move(identity, before, after))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _move(self, identity: str, before: str, after: str) -> None:
        channel, _, peer = identity.split(":", 2)  # `before` may have other accounts there: theirs stay
        try:
            owned = await self._store.owned_by(before)
        except GatewayError as error:
            log.error("sessions of %s could not be moved to %s: %s", before, after, error.message)
            return
        for key in owned:
            parts = take_apart(key.text, self._platforms)
            if key.scope or parts.kind is not KeyKind.PEER or (parts.channel, parts.peer) != (channel, peer):
                continue
            try:
                await self._update(key, {"owner": after})
            except GatewayError as error:  # it was deleted meanwhile, or the disk refused: the others go all the same
                log.error("a session of %s could not be moved to %s: %s", before, after, error.message)
            else:
                self._expel(before, key)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

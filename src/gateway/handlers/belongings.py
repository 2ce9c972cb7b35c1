"""What is kept for a user, and goes with him: whoever gets his name later gets nothing of it.

Above is `user.remove`; below, the stores that keep something by user's name, each with a way to forget one. Audit
records, the log of a group, which belongs to the group, and backups stay; of what he used stays the sum, without his
name.
"""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Sequence

from bus.errors import GatewayError, Overloaded
from bus.events import Actor
from gateway.handlers.deleting import Deleting
from gateway.handlers.moves import Owned

AT_ONCE = 50
"""Sessions deleted together: they share a sync of the disk."""
Forget = Callable[[str], Awaitable[object]]


class Belongings:
    """The sessions by themselves, everything else by `forgetters`, which are called in order."""

    def __init__(
        self, sessions: Owned, deleting: Deleting, forgetters: Sequence[Forget]
    ) -> None:  # fmt: skip
        self._sessions = sessions
        self._deleting = deleting
        self._forgetters = forgetters

    async def sessions_of(self, user: str) -> int:
        """How many conversations there are under this name."""
        return len(await self._sessions.owned_by(user))

    async def forget(self, user: str, by: Actor) -> None:
        """Take everything away. Raises Overloaded where the disk refuses: what is left goes when it is asked again."""
        keys = await self._sessions.owned_by(user)
        refused: Exception | None = None
        for at in range(0, len(keys), AT_ONCE):
            try:
                async with asyncio.TaskGroup() as group:
                    for key in keys[at : at + AT_ONCE]:
                        group.create_task(self._deleting.delete(key, by, gone_is_fine=True))
            except* GatewayError as several:
                refused = several.exceptions[0]
            if refused is not None:
                raise refused
        try:
            for forget in self._forgetters:
                await forget(user)
        except (OSError, sqlite3.Error) as error:
            raise Overloaded("the disk refused to forget all of this user; ask again", retry_after_ms=5000) from error

"""`backup.sessions` for admins: a copy of the sessions that stands still, for `gateway backup` to pack.

The store alone knows how to copy itself while it serves. The copy lies in a folder of its own
below the state folder (`backup-<id>/sessions`), which the command packs and removes; what an
interrupted command left behind is removed by a later one.
"""

import asyncio
import contextlib
import secrets
import shutil
import time
from pathlib import Path
from typing import Protocol

from bus.events import JsonObject
from gateway.handlers.call import Call, Nothing
from gateway.handlers.dispatch import Method, method
from gateway.handlers.ports import Audit

PREFIX = "backup-"
_ID_BYTES = 6
_OURS = PREFIX + "[0-9a-f]" * 2 * _ID_BYTES
"""Only what this module named itself is ever removed: people keep their backups in folders of such names, too."""
LEFT_SECONDS = 6 * 3600.0


class Copies(Protocol):
    """The store, as far as it can copy itself."""

    async def backup(self, destination: Path) -> int:
        """A copy that opens as a store, made while this one serves; the number of sessions."""
        ...


class BackupMethods:
    """The family. `home` is the state folder."""

    def __init__(self, *, store: Copies, home: Path, audit: Audit | None) -> None:
        self._store = store
        self._home = home
        self._audit = audit
        self._one = asyncio.Lock()

    def table(self) -> list[Method]:
        return [method("backup.sessions", "admin", Nothing, self.sessions)]

    async def sessions(self, call: Call, params: Nothing) -> JsonObject:
        """Copy the sessions to a folder of their own, to be packed."""
        async with self._one:
            await asyncio.to_thread(self._sweep)
            folder = self._home / (PREFIX + secrets.token_hex(_ID_BYTES)) / "sessions"
            folder.parent.mkdir(mode=0o700)
            count = await self._store.backup(folder)
        if self._audit is not None:
            self._audit.record("backup.sessions", user=call.who.user, sessions=count)
        return {"folder": str(folder), "sessions": count}

    def _sweep(self) -> None:
        for left in self._home.glob(_OURS):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)

"""What people allowed for longer than one call, and to which groups they lend their bridges.

Permissions for a bridge's tools are only listed here: the bridge keeps them, and is told when one is taken back.
`approvals.py` stands above; below is the store.
"""

from collections.abc import Sequence
from typing import Protocol

from bus.context import new_id, timestamp
from bus.errors import NotFound
from bus.events import Actor, JsonObject
from bus.keys import SessionKey
from gateway.tools.store import Store


class Keepers(Protocol):
    """The bridges, which keep the permissions of their own tools (`gateway.tunnel.directory`)."""

    async def permission_gone(self, user: str, bridge_id: str, own_tool: str, session_key: str) -> None: ...

    async def permission_given(self, user: str, bridge_id: str, own_tool: str, session_key: str) -> None: ...


class Grants:
    """Permissions and loans. `keepers` is set by the composition root, since the directory comes later."""

    def __init__(self, store: Store) -> None:
        self.keepers: Keepers | None = None
        self._store = store

    def granted(self, user: str, tool: str, session: SessionKey | None) -> bool:
        """Whether the person allowed a cloud tool for longer."""
        identity = "" if session is None else session.identity
        rows = self._store.read(
            "SELECT 1 FROM grants WHERE user = ? AND tool = ? AND bridge_id = '' "
            "AND (scope = 'allow_always' OR (session = ? AND session != ''))",
            (user, tool, identity),
        )
        return bool(rows)

    async def give(
        self, user: str, tool: str, scope: str, session: str, *, bridge_id: str = "", own_tool: str = ""
    ) -> None:
        """Note a permission; the same one twice is one."""
        kept = session if scope == "allow_session" else ""
        there = self._store.read(
            "SELECT 1 FROM grants WHERE user = ? AND tool = ? AND scope = ? AND session = ? AND bridge_id = ?",
            (user, tool, scope, kept, bridge_id),
        )
        if not there:
            await self._store.put(
                "INSERT INTO grants VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (new_id("grant"), user, tool, scope, kept, timestamp(), bridge_id, own_tool),
            )
        if bridge_id and self.keepers is not None:
            await self.keepers.permission_given(user, bridge_id, own_tool, key_text(kept))

    async def of(self, actor: Actor) -> Sequence[JsonObject]:
        """`approval.grants`: `{grant_id, tool, scope, since}`."""
        rows = self._store.read(
            "SELECT grant_id, tool, scope, since FROM grants WHERE user = ? ORDER BY since", (actor.user,)
        )
        return [dict(zip(("grant_id", "tool", "scope", "since"), row, strict=True)) for row in rows]

    async def revoke(self, grant_id: str, actor: Actor) -> bool:
        """`approval.revoke`. Raises NotFound."""
        rows = self._store.read(
            "SELECT grant_id, user, bridge_id, own_tool, session FROM grants WHERE grant_id = ? AND user = ?",
            (grant_id, actor.user),
        )
        if not rows:
            raise NotFound("no such grant")
        await self._take_back(rows)
        return True

    async def session_ended(self, session: SessionKey) -> None:
        """`/new` or a deletion: what was allowed for the session ends."""
        await self._take_back(
            self._store.read(
                "SELECT grant_id, user, bridge_id, own_tool, session FROM grants WHERE session = ?",
                (session.identity,),
            )
        )

    async def forget(self, user: str) -> None:
        """He is gone, and all that he allowed and lent with him."""
        await self._take_back(
            self._store.read("SELECT grant_id, user, bridge_id, own_tool, session FROM grants WHERE user = ?", (user,))
        )
        await self._store.put("DELETE FROM lent WHERE user = ?", (user,))

    async def _take_back(self, rows: Sequence[tuple[str, ...]]) -> None:
        for grant_id, user, bridge_id, own_tool, session in rows:
            await self._store.put("DELETE FROM grants WHERE grant_id = ?", (grant_id,))
            if bridge_id and self.keepers is not None:
                await self.keepers.permission_gone(user, bridge_id, own_tool, key_text(session))

    def lent(self, user: str, session: SessionKey) -> bool:
        """Whether this person said `/bridge on` in this group."""
        return bool(self._store.read("SELECT 1 FROM lent WHERE user = ? AND session = ?", (user, session.identity)))

    async def lend(self, user: str, session: SessionKey, on: bool) -> None:
        """`/bridge on` and `/bridge off` in a group, for the speaker alone."""
        if on:
            await self._store.put("INSERT OR IGNORE INTO lent VALUES (?, ?)", (user, session.identity))
        else:
            await self._store.put("DELETE FROM lent WHERE user = ? AND session = ?", (user, session.identity))


def key_text(identity: str) -> str:
    """The session's key as the bridge knows it; '' for a permission of all sessions."""
    return SessionKey.from_identity(identity).text if identity else ""

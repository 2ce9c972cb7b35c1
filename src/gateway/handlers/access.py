"""THE choke point: from the text of a session key and a principal to a session, or to nothing.

Every method and route that touches a session comes through here. What is another's does not
exist: same error, same words, same work as for a key that nobody ever used.

* `...:websocket|cli:direct:<user>` only for that user;
* a private key is scoped to its user by construction;
* a platform's private chat only if it exists and belongs to the user (its adapter makes it);
* a group only for admins, if it exists.
"""

from dataclasses import dataclass

from agent.ports.sessions import SessionState, SessionStore
from bus.errors import NotFound
from bus.keys import KeyKind, SessionKey, default_key, parse_key, take_apart
from gateway.auth import Principal
from gateway.identity.roles import ADMINS


@dataclass(frozen=True, slots=True)
class Found:
    """A session that the principal may use. `state` is None where it does not exist yet."""

    key: SessionKey
    state: SessionState | None

    @property
    def exists(self) -> bool:
        """Whether it is there and not deleted."""
        return self.state is not None and not self.state.head.deleted


def not_found() -> NotFound:
    """The one error for what is not there and for what is another's."""
    return NotFound("there is no such session")


class Access:
    """The choke point over `store`; `platforms` are the channels whose keys only adapters make."""

    def __init__(self, store: SessionStore, platforms: frozenset[str]) -> None:
        self._store = store
        self.platforms = platforms

    async def open(self, text: str | None, principal: Principal) -> Found:
        """The session for use: it exists, or may be begun by this principal. Raises NotFound, BadParameters."""
        key = default_key(principal.user) if text is None else parse_key(text, principal.user, self.platforms)
        state = await self._store.state(key)
        if not self._allowed(key, state, principal):
            raise not_found()
        return Found(key, state)

    async def existing(self, text: str, principal: Principal) -> Found:
        """The session, which must exist. Raises NotFound, BadParameters."""
        found = await self.open(text, principal)
        if not found.exists:
            raise not_found()
        return found

    def _allowed(self, key: SessionKey, state: SessionState | None, principal: Principal) -> bool:
        parts = take_apart(key.text, self.platforms)
        if parts.kind is KeyKind.GROUP and not key.scope:
            return principal.role in ADMINS and principal.is_admin and state is not None and not state.head.deleted
        if parts.kind is KeyKind.PEER and not key.scope:
            return state is not None and state.head.owner == principal.user
        if parts.kind is KeyKind.USER and not key.scope and parts.peer != principal.user:
            return False
        return state is None or state.head.owner == principal.user

"""What the methods need from their neighbours. `gateway/composition.py` hands the implementations in.

A neighbour that is not composed is `None`: its lists are then empty and its things not found.
"""

from collections.abc import Coroutine, Sequence
from typing import Any, Protocol

from agent.ports.sessions import SessionHead, SessionStore
from bus.events import Actor, Decision, JsonObject
from bus.keys import SessionKey


class Turns(Protocol):
    """The agent's loop, as far as methods ask it."""

    async def abort(self, *, user: str, key: SessionKey | None = None, message_id: str | None = None) -> bool: ...

    async def delete(self, key: SessionKey, actor: Actor) -> None: ...

    async def rename(self, key: SessionKey, title: str) -> str: ...

    def running(self, key: SessionKey) -> str | None: ...

    def last_seq(self, key: SessionKey) -> int | None: ...

    def stats(self) -> JsonObject: ...


class Sessions(SessionStore, Protocol):
    """The log of all sessions with its readings for people."""

    async def list_sessions(
        self, owner: str | None, *, limit: int, cursor: str | None = None, channel: str | None = None
    ) -> tuple[Sequence[SessionHead], str | None]: ...

    async def search(self, owner: str, query: str, limit: int = 20) -> Sequence[tuple[SessionKey, int, str]]: ...

    async def history(
        self, key: SessionKey, *, limit: int, before_seq: int | None = None
    ) -> tuple[Sequence[JsonObject], bool]: ...

    async def export(self, key: SessionKey) -> Sequence[str]: ...


class Asking(Protocol):
    """Approvals and questions."""

    async def pending(self, actor: Actor) -> Sequence[JsonObject]:
        """What waits for this person, with the fields of `approval.requested`."""
        ...

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool: ...

    async def answer(self, question_id: str, action: str, content: JsonObject | None, actor: Actor) -> bool: ...

    async def grants(self, actor: Actor) -> Sequence[JsonObject]: ...

    async def revoke(self, grant_id: str, actor: Actor) -> bool: ...

    async def session_ended(self, session: SessionKey) -> None: ...


class Lending(Protocol):
    """Where a person lends his bridges to a group (`/bridge on`)."""

    async def lend(self, user: str, session: SessionKey, on: bool) -> None: ...


class Bridges(Protocol):
    """The bridges of a user, and the pairing of new ones."""

    async def list_bridges(self, user: str) -> Sequence[JsonObject]: ...

    async def pair(self, code: str, actor: Actor) -> str:
        """Confirm a bridge's code; its id. Raises NotFound."""
        ...

    async def revoke(self, bridge_id: str, actor: Actor) -> bool: ...

    async def token_gone(self, token_id: str) -> None:
        """A token was revoked: whoever came with it is let go."""
        ...


class Deliveries(Protocol):
    """What could not be delivered to a platform."""

    async def list_deliveries(self) -> Sequence[JsonObject]: ...

    async def resend(self, delivery_id: str) -> bool: ...


class UsageBook(Protocol):
    """Tokens, money and calls by day."""

    async def usage(self, user: str, days: int, role: str = "") -> JsonObject: ...


class Audit(Protocol):
    """The audit log of the gateway."""

    def record(self, action: str, **details: object) -> None: ...

    async def tail(self, limit: int) -> Sequence[JsonObject]: ...


class Channels(Protocol):
    """The channels' states for `/status`."""

    def states(self) -> JsonObject: ...


class LiveSockets(Protocol):
    """The connections under way."""

    def close_token(self, token_id: str) -> int:
        """Close (4501) whoever came with this token; how many."""
        ...

    def close_user(self, user: str) -> int:
        """Close (4501) everything of this user; how many."""
        ...

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something short on the registry's account."""
        ...

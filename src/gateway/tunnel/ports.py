"""What the tunnel needs from the rest of the gateway. `toolbox.py` hands it in."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from bus.events import Actor, Decision, JsonObject
from bus.keys import SessionKey


class Bearer(Protocol):
    """Whoever a token belongs to."""

    @property
    def user(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def scopes(self) -> frozenset[str]: ...
    @property
    def token_id(self) -> str: ...
    @property
    def token_name(self) -> str: ...


class Gate(Protocol):
    """The tokens (`gateway.auth.Authenticator`)."""

    def token(self, text: object) -> Any:
        """The Bearer. Raises NotAuthenticated, TokenExpired."""
        ...

    def recheck(self, principal: Any) -> None:
        """Raises NotAuthenticated or TokenExpired where the token is worth nothing any more."""
        ...


class Trail(Protocol):
    """The audit log."""

    async def intent(self, event: str, **fields: Any) -> None:
        """Write and sync. Raises where it can't be written: then nothing dangerous may be done."""
        ...

    def note(self, event: str, **fields: Any) -> None:
        """Write soon."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """A bridge's question about one call. `expires` is in seconds since the epoch."""

    approval_id: str
    call_id: str
    tool: str
    arguments: JsonObject
    risk: str
    expires: float
    actor: Actor
    bridge_id: str
    own_tool: str
    session: SessionKey | None = None
    message_id: str = ""
    where: str | None = None


class Desk(Protocol):
    """Where people are asked (`gateway.tools.approvals`)."""

    async def ask_for_bridge(
        self, challenge: Challenge, announce: Callable[[], None]
    ) -> tuple[Decision | None, str]:  # fmt: skip
        """Wait for the person: the decision and who made it; None when nobody answered in time.

        `announce` is called when the question can be answered.
        """
        ...

    def settled_elsewhere(self, asked_id: str, decision: str) -> None:
        """The bridge went on by itself (its own terminal answered, the time was over): nobody need answer."""
        ...

    async def ask_input(self, question_id: str, actor: Actor, seconds: float) -> JsonObject:
        """Wait for the answer to an elicitation: `{"action", "content"?}`."""
        ...


class TokenMaker(Protocol):
    """Tokens for paired bridges."""

    def make(self, user: str, name: str) -> tuple[str, str]:
        """A token with the scope `tunnel` alone, for a user: its id and its text."""
        ...

    async def revoke(self, token_id: str) -> None: ...

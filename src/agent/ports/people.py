"""What the agent needs about people: what they used, who they are elsewhere, and the admin's commands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bus.events import Actor, Usage
from bus.keys import SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What one turn cost with one model. `attempt` tells the attempts of a turn apart."""

    actor: Actor
    message_id: str
    attempt: int
    model: str
    usage: Usage
    tool_calls: int


class Accountant(Protocol):
    """Who used how much, and whether he may use more."""

    async def check(self, actor: Actor) -> str:
        """A warning to show, or ''. Raises RateLimited, with the time of renewal, where a budget is used up."""
        ...

    async def charge(self, charges: Sequence[Charge]) -> None:
        """Keep what a turn cost; the same charge twice counts once."""
        ...


class Linker(Protocol):
    """Ties a platform identity to a user (`/link CODE`)."""

    async def link(self, code: str, actor: Actor) -> str:
        """The user. Raises NotFound for a wrong, spent or late code."""
        ...


class Administration(Protocol):
    """What the admin's slash commands call: the functions behind their RPC twins."""

    async def command(self, name: str, arguments: str, actor: Actor, session: SessionKey) -> str:
        """The answer to `/pair`, `/channels`, `/delivery`, `/bridge`, `/usage`, `/language`; more for `/status`.

        Raises GatewayError.
        """
        ...

"""One call of a method: on whose behalf, over what, and what follows the reply."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from bus.errors import NotAuthenticated
from gateway.auth import Principal
from gateway.reading import Reader


class Params(BaseModel):
    """Base of every method's params: nothing unknown, nothing coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Nothing(Params):
    """For methods that take none."""


@dataclass(slots=True)
class Call:
    """What a handler may know of its caller. `reader` is None where no events can follow."""

    principal: Principal | None
    origin: str = ""
    reader: Reader | None = None
    channel: str = "websocket"
    language: str = ""
    """`zh` where the client asked to be spoken to in Chinese; else what was said decides."""
    submission: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Messages of one connection are handed in one after another."""
    after_reply: list[Callable[[], None]] = field(default_factory=list)
    """Done once the reply is on its way, or failed."""
    login: Callable[[Principal], None] | None = None
    """How `connect` makes a connection somebody's; None where each request brings its own token."""

    @property
    def who(self) -> Principal:
        """The principal of a method that is not open to everyone."""
        if self.principal is None:
            raise NotAuthenticated("authenticate first")
        return self.principal

    def replied(self) -> None:
        """The reply is on its way: do what waited for it."""
        waiting, self.after_reply = self.after_reply, []
        for action in waiting:
            action()

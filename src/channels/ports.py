"""What the channels need from above. `gateway/app.py` hands in the implementations."""

from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from bus.events import Actor, Decision, Event, JsonObject, MediaRef
from bus.keys import SessionKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where something was said. `kind` is `direct` or `group`; `parent` is the chat a topic or thread is in."""

    channel: str
    account: str
    kind: Literal["direct", "group"]
    chat: str
    parent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who said it: `channel:account:peer`, the peer being the platform's immutable id. `name` is for people only.

    `language` is '' where neither the platform nor the text tells it: then it is the one he spoke last.
    """

    channel: str
    account: str
    peer: str
    name: str = ""
    language: str = "en"
    bot: bool = False

    def __str__(self) -> str:
        return f"{self.channel}:{self.account}:{self.peer}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """Let in, as this actor. `listed`: a listed member who may leave context in this group."""

    actor: Actor


@dataclass(frozen=True, slots=True, kw_only=True)
class Hint:
    """Not let in; tell him this, once (the pairing code)."""

    text: str


@dataclass(frozen=True, slots=True)
class Silent:
    """Not let in, and told nothing."""


Admission: TypeAlias = Admitted | Hint | Silent


class Gatekeeper(Protocol):
    """Who may speak. Every kind of event (edit, button, reaction, forward, join) passes it."""

    async def admit(self, identity: Identity, place: Place) -> Admission:
        """Decide by the channel's settings, the paired senders and the links; never by a name."""
        ...

    async def link(self, code: str, identity: Identity) -> str:
        """Tie `identity` to the user who made `code`; the user. Raises NotFound."""
        ...


class ClientSink(Protocol):
    """The hub of the WebSocket clients: they are a channel like the others."""

    def deliver(self, event: Event) -> None:
        """Give the event to every connection that reads the session, or belongs to the user. Never waits."""
        ...


class MediaStore(Protocol):
    """The files that the gateway keeps for its users."""

    async def save(self, data: bytes, *, mime: str, name: str, owner: str) -> MediaRef:
        """Keep `data` for `owner`. Raises TooLarge."""
        ...

    async def read(self, ref: MediaRef, owner: str) -> bytes:
        """Raises NotFound where it isn't this user's."""
        ...


class ApprovalDesk(Protocol):
    """Where a tap on a button goes."""

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool:
        """Raises NotFound, Forbidden."""
        ...

    async def answer(self, question_id: str, action: str, content: JsonObject | None, actor: Actor) -> bool:
        """A person's answer to a tool server: `accept` with a content, or `decline`. Raises NotFound, Forbidden."""
        ...


class Transcriber(Protocol):
    """Speech to text, where it is configured."""

    async def transcribe(self, data: bytes, *, mime: str, name: str) -> str: ...


Metadata: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a turn stands: `open` (events will come), `ended` with its text, or `unknown` (no such turn)."""

    state: Literal["open", "ended", "unknown"]
    text: str = ""
    failed: bool = False


class Answers(Protocol):
    """What became of a turn, asked after a restart for those whose end nobody here has heard."""

    async def outcome(self, session: SessionKey, message_id: str) -> Outcome: ...

"""What a person or program says, who he is, and what came of saying it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from bus.keys import SessionKey

JsonObject: TypeAlias = dict[str, Any]
Decision: TypeAlias = Literal["allow_once", "allow_session", "allow_always", "deny"]
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "cancelled", "content_filter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """On whose behalf something is done. Comes from the stored token or the gatekeeper, never from a client."""

    user: str
    role: str = "user"
    scopes: frozenset[str] = frozenset()
    channel: str = "websocket"
    identity: str = ""
    """`channel:account:immutable-id` on a platform, '' for clients."""
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaRef:
    """A file that the gateway keeps; `media_id` is its only handle. `size` in bytes."""

    media_id: str
    mime: str
    name: str
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnOptions:
    """What a program may bring along for one turn (the OpenAI-compatible route)."""

    history: tuple[JsonObject, ...] = ()
    """Earlier messages in Chat Completions form; only for an ephemeral session."""
    tools: tuple[JsonObject, ...] = ()
    """Tools that the client runs itself: calls to them end the turn with `tool_calls`."""
    model: str | None = None
    mode: str | None = None
    parameters: JsonObject = field(default_factory=dict)
    """temperature, top_p, max_tokens, stop, response_format, seed, tool_choice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InboundMessage:
    """Something a person or program said, on its way in."""

    session: SessionKey
    actor: Actor
    text: str
    message_id: str
    received_at: float
    """Seconds since the epoch."""
    media: tuple[MediaRef, ...] = ()
    idempotency_key: str | None = None
    """The sender's own key or the platform's message id; scoped to the user."""
    replaces: str | None = None
    """An earlier message of one's own that this one takes the place of."""
    wants_reply: bool = True
    """False: kept as context for the next turn, answered by nothing."""
    ephemeral: bool = False
    """True: an unlisted session, kept for 24 h."""
    origin: str = ""
    """The connection that sent it: it does not get its own `chat.message`."""
    reply_to: str | None = None
    """The platform's own id of the message, to reply to and react on."""
    options: TurnOptions | None = None
    trace_id: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """A message is durable. `repeated`: it was accepted before, and these are its first numbers."""

    message_id: str
    session: SessionKey
    seq: int
    repeated: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens as the provider counted them; `cost` in US dollars where the price is known."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    total_tokens: int = 0
    cost: float | None = None
    estimated_tokens: int | None = None
    """How many of the total we counted ourselves, because the provider did not come to say; None is none."""

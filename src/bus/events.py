"""Every message and event, as slotted dataclasses in one discriminated union.

Nothing is validated here: values made inside the process are trusted, and
`codec.py` checks what crosses a border. An event of a session carries `session`,
`message_id` (the turn it belongs to) and `seq`, which counts per session one by
one. An event of a user (`BridgeConnected`, ...) carries `user` and has no `seq`.

`metadata` on a message is provenance and never steers logic.
"""

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


@dataclass(slots=True, kw_only=True)
class ChatMessage:
    """A message was accepted (to every reader but the connection `origin`)."""

    session: SessionKey
    message_id: str
    seq: int
    role: str
    text: str
    channel: str
    media: tuple[MediaRef, ...] = ()
    origin: str = ""
    type: Literal["chat.message"] = "chat.message"


@dataclass(slots=True, kw_only=True)
class ChatStarted:
    """A turn began, or began again: it voids the deltas before it."""

    session: SessionKey
    message_id: str
    seq: int
    mode: str
    model: str
    attempt: int
    reason: str = ""
    type: Literal["chat.started"] = "chat.started"


@dataclass(slots=True)
class ChatDelta:
    """A piece of the answer. Merged deltas carry `from_seq` of the first and `seq` of the last."""

    session: SessionKey
    message_id: str
    seq: int
    delta: str
    from_seq: int | None = None
    type: Literal["chat.delta"] = "chat.delta"


@dataclass(slots=True, kw_only=True)
class ToolStarted:
    session: SessionKey
    message_id: str
    seq: int
    call_id: str
    name: str
    arguments: JsonObject
    agent: str = ""
    """The sub-agent that calls, '' for the turn itself."""
    type: Literal["tool.started"] = "tool.started"


@dataclass(slots=True, kw_only=True)
class ToolProgress:
    session: SessionKey
    message_id: str
    seq: int
    call_id: str
    progress: float
    total: float | None = None
    message: str | None = None
    type: Literal["tool.progress"] = "tool.progress"


@dataclass(slots=True, kw_only=True)
class ToolFinished:
    session: SessionKey
    message_id: str
    seq: int
    call_id: str
    is_error: bool
    duration_ms: int
    preview: str
    media: tuple[MediaRef, ...] = ()
    type: Literal["tool.finished"] = "tool.finished"


@dataclass(slots=True, kw_only=True)
class ApprovalRequested:
    """Someone must say yes. Without a session (a bare `tools.call`) it goes to the user's connections."""

    approval_id: str
    call_id: str
    tool: str
    arguments: JsonObject
    risk: str
    expires_at: str
    user: str
    session: SessionKey | None = None
    message_id: str = ""
    seq: int | None = None
    where: str | None = None
    """`bridge`: only the terminal of the bridge may answer."""
    type: Literal["approval.requested"] = "approval.requested"


@dataclass(slots=True, kw_only=True)
class ApprovalResolved:
    """`decision` is one of the four, or `expired`."""

    approval_id: str
    decision: str
    by: str
    user: str
    session: SessionKey | None = None
    message_id: str = ""
    seq: int | None = None
    type: Literal["approval.resolved"] = "approval.resolved"


@dataclass(slots=True, kw_only=True)
class QuestionRequested:
    """An MCP server asks the person something (elicitation)."""

    question_id: str
    message: str
    schema: JsonObject
    user: str
    session: SessionKey | None = None
    message_id: str = ""
    seq: int | None = None
    type: Literal["question.requested"] = "question.requested"


@dataclass(slots=True, kw_only=True)
class ChatDone:
    """The turn's end: the answer is durable."""

    session: SessionKey
    message_id: str
    seq: int
    text: str
    finish_reason: str
    usage: Usage
    tool_calls: tuple[JsonObject, ...] = ()
    """Calls to tools that the client brought, in Chat Completions form."""
    at: str = ""
    """When its record was written (RFC 3339): a repeat is answered with the first answer's time."""
    type: Literal["chat.done"] = "chat.done"


@dataclass(slots=True, kw_only=True)
class ChatError:
    """The turn's other end. `retry_after_ms` in milliseconds."""

    session: SessionKey
    message_id: str
    seq: int
    code: int
    message: str
    retryable: bool
    retry_after_ms: int | None = None
    trace_id: str = ""
    type: Literal["chat.error"] = "chat.error"


@dataclass(slots=True, kw_only=True)
class SessionUpdated:
    """A session got another title or owner, or is gone. Takes a number, so that `seq` has no gaps."""

    session: SessionKey
    message_id: str
    seq: int
    title: str | None = None
    deleted: bool = False
    type: Literal["session.updated"] = "session.updated"


@dataclass(slots=True, kw_only=True)
class AgentNote:
    """What a sub-agent or the supervisor is doing: shown beside the answer, never part of it."""

    session: SessionKey
    message_id: str
    seq: int
    agent: str
    state: str
    text: str = ""
    type: Literal["agent.note"] = "agent.note"


@dataclass(slots=True, kw_only=True)
class BridgeConnected:
    user: str
    bridge_id: str
    name: str
    tools: int
    type: Literal["bridge.connected"] = "bridge.connected"


@dataclass(slots=True, kw_only=True)
class BridgeDisconnected:
    user: str
    bridge_id: str
    name: str
    tools: int
    type: Literal["bridge.disconnected"] = "bridge.disconnected"


@dataclass(slots=True, kw_only=True)
class ToolsChanged:
    user: str
    bridge_id: str
    name: str
    tools: int
    type: Literal["tools.changed"] = "tools.changed"


SessionEvent: TypeAlias = (
    ChatMessage
    | ChatStarted
    | ChatDelta
    | ToolStarted
    | ToolProgress
    | ToolFinished
    | ApprovalRequested
    | ApprovalResolved
    | QuestionRequested
    | ChatDone
    | ChatError
    | SessionUpdated
    | AgentNote
)
UserEvent: TypeAlias = BridgeConnected | BridgeDisconnected | ToolsChanged
Event: TypeAlias = SessionEvent | UserEvent
TERMINAL = (ChatDone, ChatError)

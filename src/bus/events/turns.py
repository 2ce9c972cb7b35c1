"""What becomes of a session: its messages, the answer as it grows, its one end.

Each carries `session`, `message_id` (the turn it belongs to) and `seq`, which counts per session one by one.
"""

from dataclasses import dataclass
from typing import Literal

from bus.events.messages import JsonObject, MediaRef, Usage
from bus.keys import SessionKey


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
    """The turn's other end. `retry_after_ms` in milliseconds; `usage` where something had been used by then."""

    session: SessionKey
    message_id: str
    seq: int
    code: int
    message: str
    retryable: bool
    retry_after_ms: int | None = None
    trace_id: str = ""
    usage: Usage | None = None
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

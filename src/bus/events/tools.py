"""What a turn does with tools, and what a person is asked about it.

As the events of a turn they carry `session`, `message_id` and `seq`; what is asked for a bare `tools.call` has none.
"""

from dataclasses import dataclass
from typing import Literal

from bus.events.messages import JsonObject, MediaRef
from bus.keys import SessionKey


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

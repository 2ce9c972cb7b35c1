"""Every message and event, as slotted dataclasses in one discriminated union: the public face of this folder.

Nothing is validated here: values made inside the process are trusted, and
`codec.py` checks what crosses a border. A family per file; the union is here.

`metadata` on a message is provenance and never steers logic.
"""

from typing import TypeAlias

from bus.events.bridges import BridgeConnected, BridgeDisconnected, ToolsChanged
from bus.events.messages import (
    Accepted,
    Actor,
    Decision,
    FinishReason,
    InboundMessage,
    JsonObject,
    MediaRef,
    TurnOptions,
    Usage,
)
from bus.events.tools import (
    ApprovalRequested,
    ApprovalResolved,
    QuestionRequested,
    ToolFinished,
    ToolProgress,
    ToolStarted,
)
from bus.events.turns import AgentNote, ChatDelta, ChatDone, ChatError, ChatMessage, ChatStarted, SessionUpdated

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

__all__ = [
    "TERMINAL",
    "Accepted",
    "Actor",
    "AgentNote",
    "ApprovalRequested",
    "ApprovalResolved",
    "BridgeConnected",
    "BridgeDisconnected",
    "ChatDelta",
    "ChatDone",
    "ChatError",
    "ChatMessage",
    "ChatStarted",
    "Decision",
    "Event",
    "FinishReason",
    "InboundMessage",
    "JsonObject",
    "MediaRef",
    "QuestionRequested",
    "SessionEvent",
    "SessionUpdated",
    "ToolFinished",
    "ToolProgress",
    "ToolStarted",
    "ToolsChanged",
    "TurnOptions",
    "Usage",
    "UserEvent",
]

"""What the agent needs of tools: a list, calls, what happens meanwhile, and someone to ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from bus.deadline import Deadline
from bus.errors import Effect
from bus.events import Actor, Decision, JsonObject, MediaRef
from bus.keys import SessionKey

Policy: TypeAlias = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model and the person see it. `name` is the public, prefixed name.

    `read_only` tools of one round run side by side, and those that are `side_by_side`; others one after another.
    `idempotent` tools may be sent again under the same key.
    """

    name: str
    description: str
    input_schema: JsonObject
    source: Literal["cloud", "bridge"] = "cloud"
    bridge: str | None = None
    server: str | None = None
    policy: Policy = "allow"
    available: bool = True
    read_only: bool = False
    idempotent: bool = False
    side_by_side: bool = False
    """For tools whose server alone says that they only read: that is not believed where it would cost anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """A call on its way. `session` is None for a person's bare `tools.call`.

    `idempotency_key` is the same for every repetition of this call; `repeated` says that it
    may have been sent before (a turn that goes on after a crash).
    """

    call_id: str
    name: str
    arguments: JsonObject
    actor: Actor
    idempotency_key: str
    session: SessionKey | None = None
    message_id: str = ""
    repeated: bool = False
    attended: bool = True
    """False where nobody is there who could be asked (a schedule)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What came of a call: MCP content blocks.

    An error of the tool itself has `is_error`. `code` is set where the call failed on the way
    (2003, 2004, 2006, ...); then `effect` says whether the world may have changed.
    """

    content: tuple[JsonObject, ...]
    structured_content: Any = None
    is_error: bool = False
    duration_ms: int = 0
    code: int | None = None
    effect: Effect = "done"
    media: tuple[MediaRef, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    progress: float
    total: float | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAsked:
    """The call waits for a person; its deadline stands still meanwhile."""

    approval_id: str
    tool: str
    arguments: JsonObject
    risk: str
    expires_at: str
    where: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalAnswered:
    """`decision` is one of the four, or `expired`."""

    approval_id: str
    decision: str
    by: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAsked:
    question_id: str
    message: str
    schema: JsonObject


ToolUpdate: TypeAlias = Progress | ApprovalAsked | ApprovalAnswered | QuestionAsked

Report: TypeAlias = Callable[[ToolUpdate], None]


class ToolSource(Protocol):
    """Somewhere tools come from: the built-in registry, cloud servers, bridges, or all of them behind the guard."""

    async def list_tools(self, actor: Actor) -> Sequence[ToolSpec]:
        """What this person may see, whether available or not."""
        ...

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        """Run one call within `deadline`; pauses it while somebody is asked.

        Raises GatewayError (1003, 1004, 2003, 2004, 2005, 2006, 2007, 2008) with its `effect`.
        Cancelling the task cancels the call.
        """
        ...


class GuardedTools(ToolSource, Protocol):
    """All sources behind the guard, which knows what is lent to a group."""

    async def list_tools(self, actor: Actor, session: SessionKey | None = None) -> Sequence[ToolSpec]: ...


class Approvals(Protocol):
    """Someone to ask."""

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool:
        """Answer a question. Raises NotFound where it isn't this person's, or is over."""
        ...

    async def grants(self, actor: Actor) -> Sequence[JsonObject]:
        """What this person has allowed: `{grant_id, tool, scope, since}`."""
        ...

    async def revoke(self, grant_id: str, actor: Actor) -> bool: ...

    async def session_ended(self, session: SessionKey) -> None:
        """`/new` or a deletion: `allow_session` ends."""
        ...

"""What the agent needs from above: the model, tools, the log, and someone to ask.

`gateway/app.py` hands in the implementations. Each port has four methods at most.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

from bus.deadline import Deadline
from bus.errors import Effect
from bus.events import Actor, Decision, InboundMessage, JsonObject, MediaRef, Usage
from bus.keys import SessionKey

# ---------------------------------------------------------------- the language model


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One round: everything a Chat Completions endpoint is asked.

    `messages` are Chat Completions messages, `tools` Chat Completions tools. `user` is for a
    fair share between people. `needs` are capabilities the model must have (`vision`, `tools`).
    """

    messages: Sequence[JsonObject]
    tools: Sequence[JsonObject] = ()
    user: str = ""
    tier: int | None = None
    """The cheapest tier that may answer; None leaves the choice to the order of the models."""
    needs: frozenset[str] = frozenset()
    model: str | None = None
    """A model entry asked for by name."""
    among: tuple[str, ...] = ()
    """Names of the entries that may be asked; empty means all."""
    parameters: JsonObject = field(default_factory=dict)
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestedCall:
    """A tool call as the model wrote it. `arguments` is its JSON text, possibly broken."""

    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelReply:
    """A finished round. `finish_reason` is `stop`, `length`, `tool_calls` or `content_filter`."""

    text: str
    finish_reason: str
    calls: tuple[RequestedCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    model: str = ""
    """Name of the entry that answered."""


class ModelFailed(Exception):
    """A round that could not be finished.

    `code` and `message` are what the person is told; `partial` is the text streamed before
    the failure (already given to `on_delta`); `action` is the next step for the operator.
    """

    def __init__(
        self, code: int, message: str, *, partial: str = "", retryable: bool = False,
        retry_after_ms: int | None = None, kind: str = "",
    ) -> None:  # fmt: skip
        super().__init__(message)
        self.code = code
        self.message = message
        self.partial = partial
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.kind = kind
        """rate_limit, auth, context_length, timeout, silent, truncated, garbage, server, connection, too_long."""


class LanguageModel(Protocol):
    """Something that answers. Cancelling the task stops the request at once."""

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        """Ask, calling `on_delta` for each piece of text as it comes (no await in between).

        Retries by itself only while nothing was given to `on_delta`. Raises ModelFailed.
        """
        ...

    def describe(self) -> Sequence[JsonObject]:
        """For `/status` and `/v1/models`: name, model, tier, state, ... of each entry."""
        ...

    async def close(self) -> None: ...


# ---------------------------------------------------------------- tools

Policy: TypeAlias = Literal["allow", "ask", "deny"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolSpec:
    """A tool as the model and the person see it. `name` is the public, prefixed name.

    `read_only` tools of one round run side by side, others one after another.
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


# ---------------------------------------------------------------- the log


@dataclass(slots=True)
class Record:
    """One line of a session's log: `{"seq", "type", "timestamp", ...data}`.

    `agent/sessions/records.py` lists the types and the members of each.
    """

    seq: int
    type: str
    timestamp: str
    data: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionHead:
    """The first line of a session's file, and what later records changed of it."""

    key: SessionKey
    agent_id: str
    channel: str
    peer_id: str
    owner: str
    """The user, or '' for a group's session, which belongs to the group."""
    created_at: str
    title: str = ""
    updated_at: str = ""
    message_count: int = 0
    listed: bool = True
    """False for ephemeral sessions."""
    deleted: bool = False
    settings: JsonObject = field(default_factory=dict)
    """What other `session.updated` records set: `mode`, `queue`, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionState:
    """What is known of a session without reading its file.

    `last_seq` is the number to go on from (after a crash: the end of the reserved block).
    `crashed` says that numbers between the last record and `last_seq` may be missing.
    `open_turns` are the message ids accepted but not ended, in order.
    """

    head: SessionHead
    last_seq: int
    crashed: bool = False
    open_turns: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate:
    """What an idempotency key was used for within the last 24 h."""

    message_id: str
    session: SessionKey
    seq: int
    content_hash: str


class SessionStore(Protocol):
    """The durable log of all sessions. One process owns it."""

    async def state(self, key: SessionKey) -> SessionState | None:
        """What is known of `key`; None where it never existed. A deleted one has `head.deleted`."""
        ...

    def append(
        self, key: SessionKey, records: Sequence[Record], *, head: SessionHead | None = None
    ) -> "asyncio.Future[None]":
        """Write in order, as one: all of `records` survive a crash, or none.

        `head` is given with the first records of a new session. Returns at once; awaiting the
        result waits for the disk. Raises Overloaded (from the await) where the disk refuses:
        then nothing of `records` is in the log.
        """
        ...

    async def read(
        self, key: SessionKey, *, after_seq: int = 0, before_seq: int | None = None, limit: int | None = None,
        types: frozenset[str] | None = None, newest: bool = False,
    ) -> list[Record]:  # fmt: skip
        """Records in rising order with `after_seq < seq < before_seq`; with `newest`, the last `limit` of them."""
        ...

    async def duplicate(self, user: str, idempotency_key: str) -> Duplicate | None:
        """What `user` did under this key in the last 24 h (journal and index, no file is read)."""
        ...


class MediaReader(Protocol):
    """The bytes behind a MediaRef, for the model and for tools."""

    async def read(self, ref: MediaRef, owner: str) -> bytes:
        """Raises NotFound where it isn't this user's."""
        ...


class MediaStore(MediaReader, Protocol):
    """Keeps what tools give, too."""

    async def save(self, data: bytes, *, mime: str, name: str, owner: str) -> MediaRef:
        """Raises TooLarge, BadParameters for an impossible type, Overloaded where the disk refuses."""
        ...


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


Metadata: TypeAlias = Mapping[str, str]
Submit: TypeAlias = Callable[[InboundMessage], Any]

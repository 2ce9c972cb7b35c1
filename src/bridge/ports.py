"""What the tunnel needs from the rest of the bridge: someone who runs a call, a log of what was done, a way out.

`app.py` hands in the implementations: the aggregator, the audit log, the tunnel.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from bridge.errors import BridgeError, McpError, OutcomeUnknown, ToolResultInvalid
from bridge.settings import ToolSettings

JsonObject: TypeAlias = dict[str, Any]
OnProgress: TypeAlias = Callable[[JsonObject], None]
"""Called with `{"state", "progress"?, "total"?, "message"?}`; never waits."""
OnQuestion: TypeAlias = Callable[[JsonObject], Awaitable[JsonObject]]
"""Asks the person `{"message", "schema"}`, an elicitation; the answer is `{"action", "content"?}`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Where a public name leads: the server, the name it gave, and the person's rules for it.

    `definition` is a hash of the tool's description and schema: a change of it takes an allowance back.
    """

    server: str
    own_name: str
    rules: ToolSettings
    definition: str = ""


class Relayed(dict[str, Any]):
    """A result with its JSON as the MCP server wrote it, so that nobody has to write it anew."""

    __slots__ = ("raw",)

    def __init__(self, value: JsonObject, raw: bytes) -> None:
        super().__init__(value)
        self.raw = raw


class Clock(Protocol):
    """A deadline that stands still while somebody is asked."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Result(Protocol):
    """An answer of a server: its value, and its JSON as the server wrote it where that is at hand."""

    @property
    def value(self) -> JsonObject: ...

    @property
    def raw(self) -> bytes | None: ...


Outcome: TypeAlias = Result | McpError | OutcomeUnknown | ToolResultInvalid
Finished: TypeAlias = Callable[[Outcome], None]


class Posted(Protocol):
    """A call on its way to its server."""

    def abandon(self) -> None:
        """Nobody wants the answer any more: the server is told, and nothing comes of it."""
        ...


class Lane(Protocol):
    """A free way to a tool, for one call, before anything is awaited."""

    @property
    def timeout(self) -> float:
        """The server's own limit, in seconds. Whoever posts has to keep it."""
        ...

    def post(
        self, arguments: JsonObject | None, clock: Clock, on_progress: OnProgress, on_question: OnQuestion,
        finished: Finished,
    ) -> Posted:  # fmt: skip
        """Send a `tools/call`; `finished` is called once with what came of it. Raises ValueError (not JSON)."""
        ...


class Executor(Protocol):
    """Runs calls on MCP servers: the aggregator."""

    async def request(
        self, tool: str, method: str, params: JsonObject, timeout: float, on_progress: OnProgress,
        on_question: OnQuestion,
    ) -> JsonObject:  # fmt: skip
        """Run one MCP request and return its `result`, as `Relayed` where its bytes are at hand.

        `tool` is the public name of the tool or prompt; for `resources/read` the server's name. `timeout` in
        seconds. Raises McpError for a JSON-RPC error of the server, NotFound for a name that leads nowhere,
        ServerDown (effect none) where it never reached the server, OutcomeUnknown where the server died in it,
        TimedOut (effect unknown). Cancelling the task tells the server.
        """
        ...

    def route(self, tool: str, method: str) -> Route | None:
        """Where a public name leads, or None."""
        ...

    def lane(self, route: Route) -> Lane | None:
        """A way to call this tool at once: its server runs, has room, and takes what it is sent. Else None."""
        ...

    def catalogue(self) -> JsonObject:
        """The payload of `TOOLS`: `{revision, servers, tools, resources, prompts}`."""
        ...

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` whenever the catalogue did; the result ends that."""
        ...


class Audit(Protocol):
    """The hash-chained log. Arguments only as hash and shape."""

    async def intent(self, event: str, **fields: Any) -> None:
        """Write and sync. Raises where it can't be written: then nothing dangerous may be done."""
        ...

    def note(self, event: str, **fields: Any) -> None:
        """Write soon, without waiting."""
        ...


class Uplink(Protocol):
    """Where answers and progress go: the live connection, if there is one."""

    def answered(self, call_id: str) -> None: ...

    def progress(self, call_id: str, payload: JsonObject) -> None: ...

    def refuse(self, error: BridgeError) -> None: ...

    def flush(self) -> None:
        """Send what waits, as far as the socket takes it."""
        ...

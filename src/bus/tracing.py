"""Spans: where a message's time went, under the GenAI names of OpenTelemetry, all of them here.

Nothing happens until `gateway/observability/tracing.py` installs a tracer: then the
spans of a message share its trace id, from the platform to the bridge. What people
and models say is never captured, unless the operator asked for it.
Names: OpenTelemetry semantic conventions for generative AI, still in development.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol

from bus.context import current_trace_id

TURN = "invoke_agent"
MODEL = "chat"
TOOL = "execute_tool"
TUNNEL = "tunnel.call"
CHANNEL = "channel"

_ATTRIBUTE = {
    TURN: "gen_ai.conversation.id",
    MODEL: "gen_ai.request.model",
    TOOL: "gen_ai.tool.name",
    TUNNEL: "busgate.bridge",
    CHANNEL: "busgate.channel",
}
_MORE = {"call_id": "gen_ai.tool.call.id", "conversation": "busgate.message.id", "bridge": "busgate.bridge"}

span_id: ContextVar[str] = ContextVar("span_id", default="")
"""The current W3C span id (16 hex digits), where a tracer is installed."""


class Span(Protocol):
    """What a span lets its owner say."""

    def set(self, name: str, value: object) -> None: ...


Open = Callable[[str, dict[str, object]], AbstractContextManager[Span]]


class _Nothing:
    """The span of a process without a tracer."""

    __slots__ = ()

    def __enter__(self) -> "_Nothing":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def set(self, name: str, value: object) -> None:
        """Nobody listens."""


_NOTHING = _Nothing()
_open: Open | None = None


def install(opener: Open | None) -> None:
    """Use `opener(name, attributes)` from now on; None turns tracing off."""
    global _open
    _open = opener


def span(kind: str, about: str, **more: str) -> AbstractContextManager[Span]:
    """A span of `kind` (one of this module's names) about a model, tool, bridge, channel or session."""
    if _open is None:
        return _NOTHING
    attributes: dict[str, object] = {"gen_ai.operation.name": kind, _ATTRIBUTE[kind]: about}
    attributes |= {_MORE.get(name, f"busgate.{name}"): value for name, value in more.items()}
    return _open(f"{kind} {about}".strip() if kind in (MODEL, TOOL) else kind, attributes)


def traceparent() -> str:
    """The W3C `traceparent` of now, for whoever goes on with this trace elsewhere."""
    return f"00-{current_trace_id()}-{span_id.get() or '0' * 15 + '1'}-01"

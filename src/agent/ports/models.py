"""What the agent needs of a language model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from bus.events import JsonObject, Usage


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
    lost: Callable[[str, Usage], None] = lambda name, usage: None
    """Told of each attempt that was cut after the model had begun: the entry, and what it used. It is paid for."""


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

    def estimate(self, name: str, messages: Sequence[JsonObject]) -> Usage:
        """What a request to the entry `name` uses before its first word, as far as we can count and price it."""
        ...

    async def close(self) -> None: ...

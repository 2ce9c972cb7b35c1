"""What a streamed answer may be at most, how one can be broken, and what a whole one is.

Below `stream.py`, which puts answers together.
"""

from dataclasses import dataclass

from agent.ports.models import RequestedCall
from bus.events import JsonObject

MAX_TEXT_CHARS = 262_144
"""Of one answer; a model that goes on is stopped and its answer ends with `length`."""
MAX_STREAM_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 24 * 1024 * 1024
MAX_HELD_BYTES = 65_536
MAX_GARBAGE_LINES = 100
MAX_PIECE_CHARS = 16_384
"""A longer delta is handed on in pieces of this size."""
MAX_THOUGHTS = 100_000
"""Pieces of what a model only thinks that are counted, where its provider does not count them."""

FINISH = {
    "stop": "stop", "length": "length", "tool_calls": "tool_calls", "content_filter": "content_filter",
    "function_call": "tool_calls", "end_turn": "stop", "eos": "stop", "max_tokens": "length",
    "model_length": "length", "safety": "content_filter",
}  # fmt: skip
FAILED_FINISH = frozenset({"error", "insufficient_system_resource"})


class StreamBroken(Exception):
    """The stream cannot be finished. `kind` is `garbage`, `truncated` or `error` (the server said so).

    `detail` is the server's own text (data, possibly hostile); `status` its code where it gave one.
    """

    def __init__(self, kind: str, detail: str = "", status: str = "") -> None:
        super().__init__(kind)
        self.kind = kind
        self.detail = detail
        self.status = status

    @classmethod
    def by_server(cls, error: object) -> "StreamBroken":
        """The server says in the stream that it failed: `{message, code | type}`, or a mere text."""
        said = error if isinstance(error, dict) else {"message": error}
        status = said.get("code") or said.get("type") or ""
        return cls("error", str(said.get("message") or "")[:500], str(status)[:64])


@dataclass(frozen=True, slots=True)
class Assembled:
    """A whole answer. `usage` is the provider's own object, {} where it gave none."""

    text: str
    finish_reason: str
    calls: tuple[RequestedCall, ...]
    usage: JsonObject
    model: str

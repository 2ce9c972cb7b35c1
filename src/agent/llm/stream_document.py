"""An answer in one JSON document, from a server that was asked to stream and does not.

Below `stream.py`, which knows it by its first character.
"""

from agent.llm.stream_json import loose
from agent.llm.stream_limits import MAX_LINE_BYTES, StreamBroken
from bus.events import JsonObject


class Document:
    """Takes bytes, gives the completion as one chunk in the end."""

    __slots__ = ("_pieces", "_size")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0

    def add(self, data: bytes) -> None:
        """Raises StreamBroken for a web page, and for what has no end."""
        if not self._pieces and data[:1] == b"<":
            raise StreamBroken("garbage", "a web page")
        self._pieces.append(data)
        self._size += len(data)
        if self._size > MAX_LINE_BYTES:
            raise StreamBroken("garbage", "an endless document")

    def chunk(self) -> JsonObject:
        """The whole, in the form of a chunk. Raises StreamBroken."""
        try:
            event = loose(b"".join(self._pieces))
        except ValueError:
            raise StreamBroken("garbage" if self._size else "truncated") from None
        if not isinstance(event, dict) or not ("choices" in event or "error" in event):
            raise StreamBroken("garbage")
        return whole_completion(event)


def whole_completion(event: JsonObject) -> JsonObject:
    """A completion that came in one piece, in the form of a chunk."""
    choices = event.get("choices")
    out = []
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            out.append(
                {**choice, "delta": choice.get("message"), "finish_reason": choice.get("finish_reason") or "stop"}
            )
    return {**event, "choices": out}

"""JSON as careless servers write it: lone surrogates, bad UTF-8, whole answers where a stream was asked for.

Below `stream.py`; the plain case never comes here.
"""

import json
from typing import Any

import orjson

from bus.events import JsonObject


def loose(data: bytes) -> Any:
    """Parse, keeping half surrogate pairs (`Surrogates` joins them). Raises ValueError."""
    try:
        return orjson.loads(data)
    except ValueError:
        try:
            return json.loads(data.decode("utf-8", "replace"))
        except RecursionError:
            raise ValueError("nested too deeply") from None


class Surrogates:
    """Joins an emoji whose two halves came in two deltas; a half that stays alone becomes U+FFFD."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held = ""

    def __bool__(self) -> bool:
        return bool(self._held)

    def join(self, text: str) -> str:
        """What can be handed on now."""
        if not self._held and text.isascii():
            return text
        text = self._held + text
        self._held = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self._held = text[-1]
            text = text[:-1]
        return _paired(text)

    def rest(self) -> str:
        """What is left at the end."""
        held, self._held = self._held, ""
        return _paired(held)


def _paired(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def spoken(delta: JsonObject) -> list[str]:
    """What is said to the person: `content`, a text or a list of parts of which some are text (Mistral), or a refusal.

    Parts of other types, such as `thinking`, are none of it.
    """
    content = delta.get("content")
    parts: list[object] = [content]
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict) and part.get("type", "text") == "text"]
    return [text for text in (*parts, delta.get("refusal")) if isinstance(text, str) and text]


def thought(delta: JsonObject) -> str:
    """What models that think aloud write beside the answer: `reasoning_content` (DeepSeek, vLLM) or `reasoning`."""
    text = delta.get("reasoning_content") or delta.get("reasoning")
    return text if isinstance(text, str) else ""

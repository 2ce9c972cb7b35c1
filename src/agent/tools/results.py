"""What tools gave, as the model sees it: text, cut at 64 KiB, with a handle to read on.

Above it `executor.py`. The whole text of a cut result stays in memory for a while, for the person and session it
was made for.
"""

import json
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any

from agent.ports.tools import ToolResult, ToolSpec
from bus.events import JsonObject

MODEL_BYTES = 65_536
KEPT_BYTES = 64 * 1024 * 1024
READ_RESULT = "read_result"

READ_RESULT_SPEC = ToolSpec(
    name=READ_RESULT,
    description="Read on in a tool result that was cut, from a character offset.",
    input_schema={
        "type": "object",
        "properties": {"handle": {"type": "string"}, "offset": {"type": "integer", "minimum": 0}},
        "required": ["handle"],
        "additionalProperties": False,
    },
    read_only=True,
    idempotent=True,
)


def text_of(content: Iterable[JsonObject], structured_content: Any = None) -> str:
    """A result's content blocks as one text; pictures, sounds and files are named."""
    parts = [part for block in content if (part := _block(block))]
    if not parts and structured_content is not None:
        parts.append(json.dumps(structured_content, ensure_ascii=False))
    text = "\n".join(parts)
    return text.encode("utf-8", "replace").decode() if not text.isascii() else text


def _block(block: JsonObject) -> str:
    kind = block.get("type")
    if kind == "text":
        return str(block.get("text", ""))
    if kind in ("image", "audio"):
        return f"[{kind} {block.get('mimeType') or ''}, shown to the person]"
    if kind == "resource_link":
        return f"[file {block.get('name') or ''} {block.get('uri') or ''}]"
    if kind == "resource":
        resource: Any = block.get("resource") or {}
        text = resource.get("text") if isinstance(resource, dict) else None
        return (
            str(text) if text is not None else f"[file {resource.get('uri', '') if isinstance(resource, dict) else ''}]"
        )
    return ""


def problem(text: str, *, code: int | None = None, effect: Any = "none", duration_ms: int = 0) -> ToolResult:
    """A result that says what went wrong."""
    content = ({"type": "text", "text": text},)
    return ToolResult(content=content, is_error=True, code=code, effect=effect, duration_ms=duration_ms)


class ResultStore:
    """Whole texts of results that were cut; the oldest go first. Lost with the process, and said so."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._most = kept_bytes
        self._held = 0
        self._texts: OrderedDict[tuple[str, str], str] = OrderedDict()

    def shorten(self, owner: str, text: str) -> str:
        """`text` if the model can have it whole, else its beginning and how to read on."""
        if len(text) <= MODEL_BYTES and (text.isascii() or len(text.encode()) <= MODEL_BYTES):
            return text
        handle = "r" + secrets.token_hex(6)
        self._texts[owner, handle] = text
        self._held += len(text) * 2
        while self._held > self._most and len(self._texts) > 1:
            _, gone = self._texts.popitem(last=False)
            self._held -= len(gone) * 2
        return self._page(text, handle, 0)

    def read(self, owner: str, handle: str, offset: int) -> str | None:
        """The next page, or None where this owner has no such result (any more)."""
        text = self._texts.get((owner, handle))
        if text is None:
            return None
        self._texts.move_to_end((owner, handle))
        return self._page(text, handle, offset)

    @staticmethod
    def _page(text: str, handle: str, offset: int) -> str:
        if offset >= len(text):
            return f"[That is the end: the result has {len(text)} characters.]"
        room = MODEL_BYTES - 256
        piece = text[offset : offset + room].encode()[:room].decode("utf-8", "ignore")
        end = offset + len(piece)
        if end >= len(text):
            return piece
        left = f"[Cut: characters {offset} to {end} of {len(text)}. Read on with {READ_RESULT} "
        return piece + "\n" + left + json.dumps({"handle": handle, "offset": end}) + "]"

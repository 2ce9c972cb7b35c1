"""Our Markdown as Telegram's plain text with entities: pure. Nothing has to be escaped, so nothing can be refused.

Limits (Bot API 10.0): 4096 UTF-16 code units after the entities are taken out,
100 entities count, 1024 for a caption, 64 bytes in a button. `telegramify-markdown`
does the conversion; raw HTML, which it would drop, is shown as it was written.
"""

from dataclasses import dataclass
from functools import lru_cache

import pyromark
from telegramify_markdown import RenderConfig, convert

from bus.events import JsonObject
from channels.base import Media, Text
from channels.text import count

MAX_CHARS = 4096
PHOTO_BYTES = 10_000_000
_OPTIONS = (
    pyromark.Options.ENABLE_TABLES
    | pyromark.Options.ENABLE_STRIKETHROUGH
    | pyromark.Options.ENABLE_TASKLISTS
    | pyromark.Options.ENABLE_MATH
)


_BREAK = "\n".encode("utf-16-le")


def _plain_headings() -> RenderConfig:
    config = RenderConfig.isolated()
    for level in range(1, 7):
        setattr(config.markdown_symbol, f"heading_level_{level}", "")
    return config


_CONFIG = _plain_headings()


@dataclass(frozen=True, slots=True)
class Rendered:
    """What sendMessage takes. `entities` in Bot API form, offsets in UTF-16 code units."""

    text: str
    entities: tuple[JsonObject, ...] = ()


@lru_cache(maxsize=64)
def render_markdown(markdown: str) -> Rendered:
    """`markdown` as text and entities; what converts to nothing is shown as it is."""
    try:
        text, entities = convert(_show_html(markdown), config=_CONFIG)
    except Exception:  # a converter's mistake must not cost a person the answer: plain text always works
        return Rendered(markdown)
    if not text.strip():
        return Rendered(markdown)
    stripped = text.rstrip("\n ")
    end = count(stripped, "utf16")
    kept = []
    for entity in entities:
        data = entity.to_dict()
        length = min(data["length"], end - data["offset"])
        if length > 0:
            kept.append({**data, "length": length})
    return _blocks_apart(Rendered(stripped, tuple(kept)))


def _blocks_apart(rendered: Rendered) -> Rendered:
    """Code and tables on lines of their own: behind a list's text the converter leaves no line break."""
    data = rendered.text.encode("utf-16-le", "surrogatepass")
    entities = [dict(entity) for entity in rendered.entities]
    edges = {at for e in entities if e["type"] == "pre" for at in (e["offset"], e["offset"] + e["length"])}
    for at in sorted(edges, reverse=True):
        around = data[2 * at - 2 : 2 * at], data[2 * at : 2 * at + 2]
        if b"" in around or _BREAK in around:
            continue
        data = data[: 2 * at] + _BREAK + data[2 * at :]
        for entity in entities:
            if entity["offset"] >= at:
                entity["offset"] += 1
            elif entity["offset"] + entity["length"] > at:
                entity["length"] += 1
    return Rendered(data.decode("utf-16-le", "surrogatepass"), tuple(entities))


def render_text(content: Text) -> Rendered:
    """A message with its activity line, if there is room for it."""
    rendered = Rendered(content.markdown) if content.plain else render_markdown(content.markdown)
    if not content.activity:
        return rendered
    before = f"{rendered.text}\n\n" if rendered.text.strip() else ""
    whole = before + content.activity
    if count(whole, "utf16") > MAX_CHARS:
        return rendered
    italic = {"type": "italic", "offset": count(before, "utf16"), "length": count(content.activity, "utf16")}
    return Rendered(whole, (*rendered.entities, italic))


def render_buttons(content: Text) -> JsonObject | None:
    """The inline keyboard, or None."""
    if not content.buttons:
        return None
    return {"inline_keyboard": [[{"text": b.label, "callback_data": b.data} for b in row] for row in content.buttons]}


def media_kind(media: Media) -> str:
    """What a file is sent as: `photo`, `voice`, `audio`, `video` or `document`."""
    kind = media.mime.partition("/")[0]
    if kind == "image" and media.mime != "image/gif" and len(media.data) <= PHOTO_BYTES:
        return "photo"
    if media.mime in ("audio/ogg", "audio/opus"):
        return "voice"
    return kind if kind in ("audio", "video") else "document"


def measure(markdown: str) -> int:
    """Length as Telegram counts it."""
    return count(render_markdown(markdown).text, "utf16")


def _show_html(markdown: str) -> str:
    """Raw HTML escaped, so that it is shown; code and autolinks stay."""
    for _ in range(3):
        if "<" not in markdown:
            return markdown
        data = markdown.encode("utf-8")
        ranges = [
            (where["start"], where["end"])
            for payload, where in pyromark.events_with_range(markdown, options=_OPTIONS)
            if isinstance(payload, dict) and ("Html" in payload or "InlineHtml" in payload)
        ]
        if not ranges:
            return markdown
        parts, cursor = [], 0
        for start, end in ranges:
            parts += [data[cursor:start], data[start:end].replace(b"<", b"\\<")]
            cursor = end
        markdown = b"".join([*parts, data[cursor:]]).decode("utf-8")
    return markdown

"""What goes out, in Feishu's JSON: pure functions from `Text` to cards of schema 2.0 and to texts.

A card's Markdown is CommonMark with tables; pictures by URL are not, so they become
links, and Feishu's own tags (`<at id=all>` would ring for everyone) are taken apart.
"""

import json
import re
from typing import Any, TypeAlias

from channels.base import Address, Button, Media, Text
from channels.text import PICTURE, RULE, clean

Object: TypeAlias = dict[str, Any]

MAX_BYTES = 20_000
"""Of one message's text as JSON; Feishu's limit is 30 KB for the whole card."""
ANSWER, ACTIVITY = "answer", "activity"
_TAG = re.compile(
    r"<(?=/?(?:at|person|font|text_tag|number_tag|link|local_datetime|img|raw|record|audio|card)\b)", re.I
)
_FENCE = re.compile(r"^[ \t>]*(?:[-*+][ \t]+|\d{1,9}[.)][ \t]+)?(`{3,}|~{3,})")
MOST_TABLES = 3
"""In one card. Feishu says 5; code 230099 with ErrCode 11310 ("card table number over limit") comes from the fourth on
(larksuite/openclaw-lark, pull request 65)."""
_STYLES = {"primary": "primary", "default": "default", "danger": "danger"}
_BLANK = "\u200b"
"""An element's text may not be empty."""


def render_markdown(markdown: str) -> str:
    """Markdown as a card's element takes it."""
    return _few_tables(PICTURE.sub(r"[\1](\2)", _TAG.sub("<\u200b", clean(markdown))).rstrip())


def _few_tables(markdown: str) -> str:
    """The first tables as they are, further ones as code: a card with too many of them is refused as a whole."""
    lines = markdown.split("\n")
    if sum(1 for line in lines if RULE.match(line)) <= MOST_TABLES:
        return markdown
    out: list[str] = []
    fence, tables, at = "", 0, 0
    while at < len(lines):
        line = lines[at]
        mark = _FENCE.match(line)
        if fence:
            fence = "" if mark and mark[1].startswith(fence) else fence
        elif mark:
            fence = mark[1]
        elif "|" in line and at + 1 < len(lines) and RULE.match(lines[at + 1]):
            end = at + 2
            while end < len(lines) and "|" in lines[end] and lines[end].strip():
                end += 1
            tables += 1
            out += lines[at:end] if tables <= MOST_TABLES else ["```", *lines[at:end], "```"]
            at = end
            continue
        out.append(line)
        at += 1
    return "\n".join(out)


def length(markdown: str) -> int:
    """How long a text is after rendering: bytes of its JSON."""
    return len(json.dumps(render_markdown(markdown), ensure_ascii=False).encode()) - 2


def render_card(text: Text, to: Address, *, streaming: bool = False) -> Object:
    """The card of a message. `streaming`: it will be written on, with the typing effect."""
    config: Object = {"update_multi": True, "width_mode": "fill", "summary": {"content": summary(text.markdown)}}
    if streaming:
        config["streaming_mode"] = True
        config["streaming_config"] = {"print_frequency_ms": {"default": 40}, "print_step": {"default": 2},
                                      "print_strategy": "fast"}  # fmt: skip
    elements: list[Object] = [_plain(text.markdown) if text.plain else _element(ANSWER, render_markdown(text.markdown))]
    if text.activity or streaming:
        elements.append(_element(ACTIVITY, render_activity(text.activity)) | {"text_size": "notation"})
    elements += [_row(row, to) for row in text.buttons if row]
    return {"schema": "2.0", "config": config, "body": {"elements": elements}}


def render_activity(activity: str) -> str:
    """What tools are doing, under the answer and told apart from it."""
    return render_markdown(activity)[:1000] or _BLANK


def render_plain(markdown: str) -> Object:
    """The content of a text message."""
    return {"text": _TAG.sub("<\u200b", clean(markdown)) or _BLANK}


def card_reference(card_id: str) -> Object:
    """The content of a message that shows a card entity."""
    return {"type": "card", "data": {"card_id": card_id}}


def upload_kind(media: Media, image_bytes: int) -> str:
    """How a file is shown: `image`, `audio` (Opus alone is) or `file`."""
    if media.mime in ("image/png", "image/jpeg", "image/webp", "image/gif") and len(media.data) <= image_bytes:
        return "image"
    return "audio" if media.mime in ("audio/ogg", "audio/opus") else "file"


def _element(element_id: str, content: str) -> Object:
    return {"tag": "markdown", "element_id": element_id, "content": content or _BLANK}


def _plain(text: str) -> Object:
    return {"tag": "div", "element_id": ANSWER, "text": {"tag": "plain_text", "content": clean(text) or _BLANK}}


def summary(markdown: str) -> str:
    """What the list of chats shows."""
    return " ".join(markdown.split())[:60] or "…"


def _row(row: tuple[Button, ...], to: Address) -> Object:
    """Buttons beside each other. Their value says where they are, since a tap's event hardly does."""
    columns = [
        {"tag": "column", "width": "auto", "elements": [
            {"tag": "button", "text": {"tag": "plain_text", "content": button.label},
             "type": _STYLES[button.style], "behaviors": [{"type": "callback", "value": _value(button, to)}]}
        ]}
        for button in row
    ]  # fmt: skip
    return {"tag": "column_set", "flex_mode": "flow", "columns": columns}


def _value(button: Button, to: Address) -> Object:
    value: Object = {"data": button.data, "kind": to.kind}
    return value | ({"thread": to.thread} if to.thread else {})

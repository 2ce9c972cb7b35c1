"""What goes out, in Discord's JSON: pure functions from `Text`, `Media` and commands to request bodies.

Discord's Markdown is CommonMark without tables, images and headings below the
third level; those become a code block, a link and bold text. Mentions in an
answer never ring: `allowed_mentions` is empty in every body.
"""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any, TypeAlias

from bus.commands import Command
from channels.base import Button, Media, Text
from channels.text import PICTURE, clean, count

Object: TypeAlias = dict[str, Any]

MAX_CHARS = 2000
_NOBODY: Object = {"parse": []}
_STYLES = {"primary": 1, "default": 2, "danger": 4}
_HEADING = re.compile(r"^#{4,6}\s+(.*)$")
_FENCE = re.compile(r"^[ \t>]*(?:[-*+][ \t]+|\d{1,9}[.)][ \t]+)?(`{3,}|~{3,})")
_RULE = re.compile(r"^[ \t]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
"""Not within a quotation: a code block would end it."""
_CELL = re.compile(r"(?<!\\)\|")
_MAX_LABEL = 80
_MAX_DESCRIPTION = 100


def length(markdown: str) -> int:
    """How long one message is after rendering: UTF-16 units, the stricter of the two ways that Discord counts."""
    return count(render_markdown(markdown), "utf16")


def render_text(text: Text) -> Object:
    """The body of a message or of its edit; without buttons an edit takes them away."""
    content = clean(text.markdown) if text.plain else render_markdown(text.markdown)
    if text.activity:
        line = "\n".join(f"-# {part}" for part in clean(text.activity).splitlines() if part)
        joined = f"{content}\n{line}" if content.strip() else line
        content = joined if count(joined, "utf16") <= MAX_CHARS else content
    return {"content": content, "allowed_mentions": _NOBODY, "components": [_row(row) for row in text.buttons if row]}


def render_media(media: Media) -> Object:
    """The JSON beside an uploaded file."""
    attachment = {"id": 0, "filename": file_name(media.name)}
    return {"content": render_markdown(media.caption)[:MAX_CHARS], "allowed_mentions": _NOBODY,
            "attachments": [attachment]}  # fmt: skip


def file_name(name: str) -> str:
    """A name that no platform takes for a path."""
    return re.sub(r"[\x00-\x1f/\\:]+", "_", name)[-100:] or "file"


def render_commands(commands: Sequence[Command]) -> list[Object]:
    """The menu of application commands; a usage becomes one optional text."""
    return [_command(command) for command in commands]


def _command(command: Command) -> Object:
    body: Object = {
        "name": command.name,
        "type": 1,
        "description": command.en[:_MAX_DESCRIPTION],
        "description_localizations": {"zh-CN": command.zh[:_MAX_DESCRIPTION], "zh-TW": command.zh[:_MAX_DESCRIPTION]},
        "contexts": [0, 1],
    }
    if command.usage:
        body["options"] = [
            {"type": 3, "name": "text", "description": command.usage[:_MAX_DESCRIPTION], "required": False}
        ]
    return body


def _row(buttons: Sequence[Button]) -> Object:
    return {
        "type": 1,
        "components": [
            {"type": 2, "style": _STYLES[b.style], "label": b.label[:_MAX_LABEL], "custom_id": b.data} for b in buttons
        ],
    }


def render_markdown(markdown: str) -> str:
    """CommonMark with tables as Discord shows it; what is in code stays as it is."""
    out: list[str] = []
    lines = clean(markdown).split("\n")
    fence = ""
    at = 0
    while at < len(lines):
        line = lines[at]
        mark = _FENCE.match(line)
        if fence:
            out.append(line)
            fence = "" if mark and mark[1].startswith(fence) else fence
        elif mark:
            out.append(line)
            fence = mark[1]
        elif _is_table(lines, at):
            end = at + 2
            while end < len(lines) and "|" in lines[end] and lines[end].strip():
                end += 1
            out += _table(lines[at], lines[at + 2 : end])
            at = end
            continue
        else:
            heading = _HEADING.match(line)
            shown = f"**{heading[1].rstrip('#').rstrip()}**" if heading else line
            out.append(PICTURE.sub(r"[\1](\2)", shown))
        at += 1
    return "\n".join(out)


def _is_table(lines: Sequence[str], at: int) -> bool:
    return at + 1 < len(lines) and "|" in lines[at] and "|" in lines[at + 1] and bool(_RULE.match(lines[at + 1]))


def _table(head: str, rows: Sequence[str]) -> list[str]:
    """A table as a code block of aligned columns."""
    cells = [_cells(line) for line in (head, *rows)]
    columns = max(len(row) for row in cells)
    widths = [max((_width(row[i]) for row in cells if i < len(row)), default=0) for i in range(columns)]
    body = [_aligned(row, widths) for row in cells]
    return ["```", body[0], "-+-".join("-" * width for width in widths), *body[1:], "```"]


def _cells(line: str) -> list[str]:
    text = line.strip().removeprefix("|")
    if text.endswith("|") and not text.endswith("\\|"):
        text = text[:-1]
    return [cell.strip().replace("\\|", "|").replace("```", "'''") for cell in _CELL.split(text)]


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    padded = [cell + " " * (widths[i] - _width(cell)) for i, cell in enumerate(row)]
    return " | ".join(padded).rstrip()


def _width(text: str) -> int:
    """Columns on a fixed-width screen: East Asian characters take two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 0 if unicodedata.combining(c) else 1 for c in text)

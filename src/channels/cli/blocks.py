"""Growing Markdown, cut into blocks that are finished and the one that still grows. Pure.

A block ends at an empty line outside a code fence, so that what was drawn once is never
drawn again. Lists and tables hold together: an empty line between two items of a list
does not end it before the next line is known.
"""

import re

REDRAW_SECONDS = 0.08
"""The growing block is drawn again at most this often."""

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_CONTINUES = re.compile(r"( {2,}|\t|\s*([-*+]|\d{1,9}[.)])\s)")


def finished(text: str) -> tuple[list[str], str]:
    """The finished blocks at the start of `text`, and the rest."""
    blocks: list[str] = []
    start = position = 0
    fence = ""
    empty_at: int | None = None
    while True:
        end = text.find("\n", position)
        if end < 0:
            break
        line = text[position:end]
        if fence:
            if _closes(line, fence):
                fence = ""
        elif not line.strip():
            if empty_at is None:
                empty_at = end + 1
        else:
            if empty_at is not None and not (_CONTINUES.match(line) and _is_list(text[start:empty_at])):
                blocks.append(text[start:empty_at])
                start = empty_at
            empty_at = None
            opening = _FENCE.match(line)
            if opening:
                fence = opening.group(1)
        position = end + 1
    tail = text[position:]
    if empty_at is not None and not fence and (not _is_list(text[start:empty_at]) or _surely_new(tail)):
        blocks.append(text[start:empty_at])
        start = empty_at
    return [block for block in blocks if block.strip()], text[start:]


def _closes(line: str, fence: str) -> bool:
    stripped = line.strip()
    return len(stripped) >= len(fence) and set(stripped) == {fence[0]} and len(line) - len(line.lstrip()) <= 3


def _is_list(block: str) -> bool:
    return bool(re.match(r"\s*([-*+]|\d{1,9}[.)])\s", block))


def _surely_new(tail: str) -> bool:
    """Whether an unfinished line can't go on a list."""
    return len(tail) > 12 and not _CONTINUES.match(tail)

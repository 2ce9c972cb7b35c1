"""Text, pure: one Markdown, cut into pieces that fit a platform, and counted as it counts.

A piece never leaves a code fence open: the fence is closed at the cut and opened
again in the next piece. A table or fence that fits a message of its own is moved
there whole; a longer table is cut between rows and gets its head again. A line
too long for a message is cut at a space where there is one, never inside a
grapheme (surrogate pair, emoji sequence, base and combining mark).

How a piece becomes the platform's markup is the adapter's `render_*`; `measure`
is handed in, so that lengths are those after rendering. Knows no platform.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from bus.commands import is_slash
from bus.wording import is_chinese

Counting: TypeAlias = Literal["utf16", "characters", "bytes"]
Measure: TypeAlias = Callable[[str], int]

# What repeats gives nothing back (`*+`): a line of ten thousand spaces would be tried in every way to part them.
_FENCE = re.compile(
    r"^(?P<lead>[ \t]*+(?:>[ \t]?+)*+[ \t]*+)(?:[-*+][ \t]++|\d{1,9}[.)][ \t]++)?(?P<fence>`{3,}|~{3,})(?P<info>.*)$"
)
RULE = re.compile(r"^[ \t>]*+\|?[ \t]*+:?-++:?[ \t]*+(?:\|[ \t]*+:?-++:?[ \t]*+)*+\|?[ \t]*+$")
"""The line below a table's head."""
PICTURE = re.compile(r"!\[([^\[\]]*+)\]\(((?:(?!!\[)[^\s)])++)(?:\s+\"[^\"]*\")?\)")
"""A picture: what it shows, and its address. Neither goes on into the next picture, nor is it looked for there."""
_SURROGATES = re.compile("[\ud800-\udfff]")
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_CUT_AFTER = frozenset(" \t。！？；，、.!?;,")
_ZERO_WIDTH_JOINER = "\u200d"
_MAX_INFO = 40


def count(text: str, counting: Counting) -> int:
    """The length of `text` in the platform's units; a lone surrogate counts as one."""
    if counting == "characters" or text.isascii():
        return len(text)
    if counting == "utf16":
        return len(text.encode("utf-16-le", "surrogatepass")) >> 1
    return len(text.encode("utf-8", "surrogatepass"))


def clean(text: str) -> str:
    """`text` as every platform takes it: lone surrogates and control characters become U+FFFD, or go."""
    return _CONTROLS.sub("", _SURROGATES.sub("\ufffd", text)).replace("\r\n", "\n").replace("\r", "\n")


def language_of(text: str) -> str:
    """`zh` or `en`, for platforms that do not say what a person reads; '' where the text does not tell either."""
    if is_slash(text) or not any(c.isalpha() for c in text):
        return ""
    return "zh" if is_chinese(text) else "en"


def is_blank(text: str) -> bool:
    """Whether nobody would see it: spaces, and what has no width. Telegram refuses such a message."""
    return all(unicodedata.category(c) in ("Cc", "Cf", "Zs", "Zl", "Zp") for c in text)


def take_piece(markdown: str, limit: int, measure: Measure) -> tuple[str, str]:
    """The first piece, and the Markdown that remains: splitting that gives the further pieces."""
    if len(markdown) <= 2 * limit and measure(markdown) <= limit:
        return markdown.strip("\n"), ""
    lines = _scan(markdown, limit)
    at = _best_cut(lines, _most_lines(lines, limit, measure), limit, measure)
    if at == 0:
        return _cut_line(lines, limit, measure)
    return _before(lines, at).strip("\n"), _after(lines, at)


@dataclass(slots=True)
class _Line:
    """One line, and what a cut right before it needs: `close` ends the piece, `open` begins the next.

    `block` is the index of the line at which the fence or table around this line begins, or -1.
    """

    text: str
    close: str = ""
    open: str = ""
    block: int = -1
    glued: bool = False
    """No cut right before this line."""


def _scan(markdown: str, limit: int) -> list[_Line]:
    """The lines up to a little more than one piece can hold; the last may hold all the rest."""
    texts = markdown.split("\n")
    lines: list[_Line] = []
    used = 0
    index = 0
    while index < len(texts):
        if used > 8 * limit:
            lines.append(_Line("\n".join(texts[index:])))
            _continue_block(lines)
            break
        index = _scan_block(texts, index, lines)
        used += sum(len(line.text) + 1 for line in lines[-1:])
    return lines


def _continue_block(lines: list[_Line]) -> None:
    """The unscanned rest never gets into this piece: it needs no more than to be there."""
    lines[-1].block = -1


def _scan_block(texts: list[str], index: int, lines: list[_Line]) -> int:
    fence = _FENCE.match(texts[index])
    if fence and not (fence["fence"][0] == "`" and "`" in fence["info"]):
        return _scan_fence(texts, index, fence, lines)
    if index + 1 < len(texts) and "|" in texts[index] and "|" in texts[index + 1] and RULE.match(texts[index + 1]):
        return _scan_table(texts, index, lines)
    lines.append(_Line(texts[index]))
    return index + 1


def _scan_fence(texts: list[str], index: int, fence: "re.Match[str]", lines: list[_Line]) -> int:
    mark, lead, start = fence["fence"], fence["lead"], len(lines)
    quote = lead if ">" in lead else ""
    close = f"\n{lead}{mark}"
    again = f"{quote}{mark}{fence['info'][:_MAX_INFO]}\n"
    lines.append(_Line(texts[index], block=start))
    index += 1
    while index < len(texts):
        body = texts[index].strip(" \t>")
        if body.startswith(mark) and not body.strip(mark[0]):
            lines.append(_Line(texts[index], block=start, glued=True))
            return index + 1
        first = len(lines) == start + 1
        lines.append(_Line(texts[index], close=close, open=again, block=start, glued=first))
        index += 1
    return index


def _scan_table(texts: list[str], index: int, lines: list[_Line]) -> int:
    start = len(lines)
    head = f"{texts[index]}\n{texts[index + 1]}\n"
    lines.append(_Line(texts[index], block=start))
    lines.append(_Line(texts[index + 1], block=start, glued=True))
    index += 2
    while index < len(texts) and "|" in texts[index] and texts[index].strip():
        first = len(lines) == start + 2
        lines.append(_Line(texts[index], open=head, block=start, glued=first))
        index += 1
    return index


def _before(lines: list[_Line], at: int) -> str:
    close = lines[at].close if at < len(lines) else ""
    return "\n".join(line.text for line in lines[:at]) + close


def _after(lines: list[_Line], at: int) -> str:
    rest = "\n".join(line.text for line in lines[at:])
    if lines[at].open:
        return lines[at].open + rest
    return rest.lstrip("\n")


def _most_lines(lines: list[_Line], limit: int, measure: Measure) -> int:
    """The greatest number of lines that fit, the last line left aside."""
    guess = used = 0
    while guess < len(lines) - 1 and used + len(lines[guess].text) + 1 <= limit:
        used += len(lines[guess].text) + 1
        guess += 1

    def fits(number: int) -> bool:
        text = _before(lines, number)
        return len(text) <= 4 * limit and measure(text) <= limit

    return _greatest(0, len(lines) - 1, guess, fits)


def _greatest(low: int, most: int, guess: int, fits: Callable[[int], bool]) -> int:
    """The greatest number from `low` (which fits, or is all there is) to `most` that fits.

    To ask may mean to render, so it begins at a good guess, and goes from there in growing steps.
    """
    step, high = 1 + guess // 64, most + 1
    at = max(low, min(guess, most))
    if at == low or fits(at):
        low = at
        while low + step < high:
            if not fits(low + step):
                high = low + step
                break
            low, step = low + step, 2 * step
    else:
        high = at
        while high - step > low:
            if fits(high - step):
                low = high - step
                break
            high, step = high - step, 2 * step
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _best_cut(lines: list[_Line], most: int, limit: int, measure: Measure) -> int:
    """Where to cut, at most before line `most`: before a block that fits whole elsewhere, else at a
    blank line in the later half, else at the last line where a cut is allowed; 0 where there is none."""
    block = lines[most].block
    if block > 0 and _has_text(lines, block) and _fits_alone(lines, block, limit, measure):
        return block
    if block < 0:
        for at in range(most, 0, -1):
            if lines[at].block < 0 and not lines[at - 1].text.strip() and 2 * len(_before(lines, at)) >= limit:
                return at
    for at in range(most, 0, -1):
        # fewer lines may be longer, since a cut inside a fence ends the piece with one more
        if not lines[at].glued and (at == most or measure(_before(lines, at)) <= limit):
            return at
    return 0


def _has_text(lines: list[_Line], until: int) -> bool:
    return any(line.text.strip() for line in lines[:until])


def _fits_alone(lines: list[_Line], block: int, limit: int, measure: Measure) -> bool:
    inside = [line.text for line in lines if line.block == block]
    text = "\n".join(inside)
    return len(text) <= 4 * limit and measure(text) <= limit


def _cut_line(lines: list[_Line], limit: int, measure: Measure) -> tuple[str, str]:
    """Cut inside the first line, which is too long; the first line of a fence takes its code along."""
    first = lines[0]
    inside = len(lines) > 1 and lines[1].block == 0 and bool(lines[1].close)
    opening, body, close = "", first.text, ""
    if inside:
        opening, body, close = lines[1].open, lines[1].text, lines[1].close
        if measure(opening + "x" + close) > limit or not body:
            opening = close = ""
    room = limit - len(opening) - len(close)
    most = min(len(body), 4 * limit)
    keep = _greatest(1, most, room, lambda number: measure(opening + body[:number] + close) <= limit)
    keep = _whole_graphemes(body, _at_a_space(body, keep))
    rest = "\n".join([opening + body[keep:], *(line.text for line in lines[2 if inside else 1 :])])
    return opening + body[:keep] + close, rest if opening else rest.lstrip(" \n")


def _at_a_space(body: str, keep: int) -> int:
    if keep >= len(body):
        return keep
    for at in range(keep, keep // 2, -1):
        if body[at - 1] in _CUT_AFTER:
            return at
    return keep


def _whole_graphemes(body: str, keep: int) -> int:
    at = keep
    while 0 < at < len(body) and _inside_grapheme(body, at):
        at -= 1
    return at or keep


def _inside_grapheme(body: str, at: int) -> bool:
    before, after = body[at - 1], body[at]
    if before == _ZERO_WIDTH_JOINER or after == _ZERO_WIDTH_JOINER:
        return True
    if (
        unicodedata.combining(after)
        or unicodedata.category(after) in ("Mn", "Me")
        or "\U0001f3fb" <= after <= "\U0001f3ff"
    ):
        return True
    if "\U0001f1e6" <= after <= "\U0001f1ff":
        flags = 0
        while at - flags > 0 and "\U0001f1e6" <= body[at - flags - 1] <= "\U0001f1ff":
            flags += 1
        return flags % 2 == 1
    return False

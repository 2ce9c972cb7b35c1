"""Which mode a turn gets: a pure function that gives its reason.

The rules are cheap on purpose (microseconds, no model): a wrong guess costs a
hand-over from `fast` to `single`, never a wrong answer.
"""

import re
from dataclasses import dataclass

FAST, SINGLE, MULTI, AUTO = "fast", "single", "multi", "auto"
MODES = (AUTO, FAST, SINGLE, MULTI)
FAST_CHARS = 160
MULTI_CHARS = 400

_GREETING = re.compile(
    r"\s*(hi|hello|hey|thanks|thank you|good (morning|evening|night)|ok(ay)?|bye|你好|您好|谢谢|早上好|晚安|再见|好的)"
    r"[\s!.,。！，~]*\Z",
    re.IGNORECASE,
)
_WORK = re.compile(
    r"https?://|```|/\w+/\w|\b(file|folder|search|find|fetch|read|write|run|list|remind|schedule|calculate|today|now|"
    r"time|weather|news|latest|price|database|query|remember|use|call|tool)\b|"
    r"文件|目录|搜索|查找|查询|读取|写入|运行|提醒|计算|今天|现在|几点|天气|新闻|最新|价格|数据库|记住|工具|调用",
    re.IGNORECASE,
)
# Spaces within the line only: with `\s`, each of many empty lines would be looked through to their end.
_PARTS = re.compile(r"^[^\S\n]*(?:[-*•]|\d+[.)、])\s+\S", re.MULTILINE)
_SPLIT = re.compile(
    r"\b(compare|each of|respectively|in parallel|for every|research)\b|分别|对比|比较|并行|逐个|调研", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Choice:
    """The mode, and why."""

    mode: str
    reason: str


def choose(
    text: str,
    *,
    configured: str = AUTO,
    asked: str | None = None,
    tools: int = 0,
    media: int = 0,
    turns_before: int = 0,
) -> Choice:
    """The mode for `text`.

    `asked` (by `/mode` or the request) wins over `configured`; both may be `auto`. `tools` is how
    many the person has, `media` how many files came along, `turns_before` how long the talk is.
    """
    if asked and asked != AUTO:
        return Choice(asked, "asked for")
    if configured != AUTO:
        return Choice(configured, "configured")
    if media:
        return Choice(SINGLE, "files came along")
    parts = len(_PARTS.findall(text))
    if tools and (parts >= 3 or (len(text) >= MULTI_CHARS and _SPLIT.search(text))):
        return Choice(MULTI, f"{parts} parts" if parts >= 3 else "a long request of several parts")
    if not tools:
        return Choice(SINGLE, "no tools")
    if _GREETING.match(text):
        return Choice(FAST, "a greeting")
    if len(text) <= FAST_CHARS and turns_before == 0 and not _WORK.search(text) and text.rstrip().endswith(("?", "？")):
        return Choice(FAST, "a short question without a sign of work")
    return Choice(SINGLE, "may need tools")

"""What the demo model says: rules, in English and Chinese. Pure.

Below `demo.py`, which streams it. The point is that everything can be tried without a key: streaming, stopping in
mid answer, history, tools. It makes nothing up and says what it is.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from agent.llm.demo_texts import ABOUT_EN, ABOUT_ZH, CHAPTER_EN, CHAPTER_ZH, KEY_EN, KEY_ZH
from bus.events import JsonObject
from bus.wording import is_chinese


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, or calls of tools as (name, arguments as JSON text)."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Talk:
    """The conversation as the rules see it."""

    said: str
    earlier: tuple[str, ...]
    tools: frozenset[str]
    images: int
    chinese: bool
    hands_over: bool
    """Whether the house has said that a question for tools is answered by the word HANDOVER."""


_PLANNED = re.compile(r"\(Planned earlier by this person[^)]*\) |（用户之前安排的事项[^）]*）")
"""How the house marks a scheduled task."""
_SPEAKER = re.compile(r"\[[A-Za-z0-9_.:@-]{1,128}\] ")
"""How the house names who speaks in a group."""
_USE = re.compile(
    r"^[ \t]*(?:please\s+)?(?:use|call|调用|使用|请调用|请使用)\s*(?:the\s+)?(?:tool\s+|工具\s*)?"
    r"[`“\"]?([A-Za-z0-9_-]{1,64})[`”\"]?"
    r"\s*(\{.*\})?\s*$",
    re.IGNORECASE | re.MULTILINE,
)
_COUNT = re.compile(r"(?:count (?:up )?to|数到)\s*(\d{1,5})", re.IGNORECASE)
_NAME = re.compile(r"(?:my name is|我叫|我的名字是)\s*([\w-]{1,40})", re.IGNORECASE)
_SUM = re.compile(
    r"(?:what(?:'s| is)|calculate|compute|计算|算一下)?\s*"
    r"([\d(][\d\s.+*/()^%-]*[+*/^%-][\d\s.+*/()^%-]*)\s*[=?？]*\s*$",
    re.IGNORECASE,
)

HANDOVER = Answer("HANDOVER")
_FINDINGS = "Results of the parts:"
MOST_COUNTED = 2_000
MOST_READ = 20_000
"""Characters; a longer message is only repeated in short, since the rules are regular expressions."""


def answer(messages: Sequence[JsonObject], tools: frozenset[str]) -> Answer:
    """What comes after `messages`, given the names of the tools at hand."""
    last = messages[-1] if messages else {}
    said = [spoken(message) for message in messages if message.get("role") == "user"]
    current = said[-1] if said else ""
    if (speaker := _SPEAKER.match(current)) is not None:
        current = current[speaker.end() :]
    planned = _PLANNED.match(current)
    if planned and last.get("role") == "user":
        return _remind(answer([{"role": "user", "content": current[planned.end() :]}], tools), current[planned.end() :])
    system = spoken(messages[0]) if messages and messages[0].get("role") == "system" else ""
    talk = Talk(current, tuple(said[:-1]), tools, _images(messages), is_chinese(current), "HANDOVER" in system)
    if '{"parts"' in system:
        return Answer(_plan(current))
    if current.startswith(_FINDINGS):
        return Answer(_together(current, is_chinese(said[-2] if len(said) > 1 else "")))
    if last.get("role") == "tool":
        return Answer(_results(messages, talk.chinese))
    for rule in _RULES if len(current) <= MOST_READ else ():
        found = rule(talk)
        if found is not None:
            return found
    return Answer(_echo(talk))


def spoken(message: JsonObject) -> str:
    """The text of a message, its pictures left out."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and "text" in part)
    return content if isinstance(content, str) else ""


def _images(messages: Sequence[JsonObject]) -> int:
    content = messages[-1].get("content") if messages else None
    parts = content if isinstance(content, list) else []
    return sum(1 for part in parts if isinstance(part, dict) and part.get("type") == "image_url")


def _results(messages: Sequence[JsonObject], chinese: bool) -> str:
    """What the tools of the last round gave."""
    names: dict[str, str] = {}
    results: list[JsonObject] = []
    for message in reversed(messages):
        if message.get("role") == "tool":
            results.insert(0, message)
            continue
        for call in message.get("tool_calls") or ():
            names[str(call.get("id"))] = str((call.get("function") or {}).get("name"))
        break
    lines = []
    for result in results:
        name = names.get(str(result.get("tool_call_id")), "?")
        text = spoken(result)
        lines.append(f"工具 `{name}` 的结果：{text}" if chinese else f"The tool `{name}` says: {text}")
    return "\n\n".join(lines)


def _remind(found: Answer, task: str) -> Answer:
    """A scheduled task: done where the rules can do it, else told."""
    if found.calls or _short(task) not in found.text:
        return found
    return Answer(f"提醒：{task}" if is_chinese(task) else f"Reminder: {task}")


def _plan(text: str) -> str:
    """A request split into parts, as the planner of `multi` is asked to: by lines, semicolons or “and”."""
    for pattern in (r"\n+", r"\s*[;；]\s*", r"\s*(?:,\s*)?\band\b\s*|以及|，并且"):
        parts = [part.strip(" -*.") for part in re.split(pattern, text[:MOST_READ]) if part.strip(" -*.")]
        if len(parts) > 1:
            break
    plan = [{"title": _short(part, 40), "task": part} for part in parts[:5]]
    return json.dumps({"parts": plan}, ensure_ascii=False)


def _together(text: str, chinese: bool) -> str:
    """The answer of `multi` from what its parts found."""
    head = "各部分的结果如下：" if chinese else "Here is what the parts came to:"
    return head + "\n\n" + text.removeprefix(_FINDINGS).strip()


# ---------------------------------------------------------------- rules, the first that answers wins


def _use(talk: Talk) -> Answer | None:
    found = _USE.findall(talk.said)
    if not found:
        return None
    if talk.hands_over and any(map(_is_tool_like, found)):
        return HANDOVER
    missing = [name for name, _ in found if name not in talk.tools]
    if missing and any(map(_is_tool_like, found)):
        have = ", ".join(sorted(talk.tools)) or ("没有工具" if talk.chinese else "none")
        return Answer(
            f"我没有名为 `{missing[0]}` 的工具。现有：{have}。"
            if talk.chinese
            else f"I have no tool named `{missing[0]}`. I have: {have}."
        )
    return None if missing else Answer(calls=tuple((name, arguments or "{}") for name, arguments in found))


def _is_tool_like(found: tuple[str, str]) -> bool:
    """`use fs_read {}` means a tool, “use the force” does not."""
    return bool(found[1]) or "_" in found[0]


def _time(talk: Talk) -> Answer | None:
    if not re.search(
        r"what(?:'s| is)? (?:the )?(?:time|date)|what day is|几点|时间是|什么时间|今天.{0,2}(?:几号|星期)",
        talk.said,
        re.I,
    ):
        return None
    if talk.hands_over:
        return HANDOVER
    if "clock" in talk.tools:
        return Answer(calls=(("clock", "{}"),))
    return Answer("我现在没有时钟工具。" if talk.chinese else "I have no clock tool at hand.")


def _count(talk: Talk) -> Answer | None:
    found = _COUNT.search(talk.said)
    if not found:
        return None
    return Answer(" ".join(str(number) for number in range(1, min(int(found[1]), MOST_COUNTED) + 1)))


def _story(talk: Talk) -> Answer | None:
    if not re.search(r"story|故事", talk.said, re.I):
        return None
    long = bool(re.search(r"long|长", talk.said, re.I))
    chapters = 24 if long else 2
    if talk.chinese:
        return Answer("\n\n".join(CHAPTER_ZH.format(n=n, before=n - 1) for n in range(1, chapters + 1)))
    return Answer("\n\n".join(CHAPTER_EN.format(n=n, before=n - 1) for n in range(1, chapters + 1)))


def _key(talk: Talk) -> Answer | None:
    if re.search(r"\bapi[ _-]?key|\bset (?:a|the|my|up a) key|real model|密钥|真正的模型|api ?key", talk.said, re.I):
        return Answer(KEY_ZH if talk.chinese else KEY_EN)
    return None


def _about(talk: Talk) -> Answer | None:
    asked = (
        r"who are you|what are you|what can you do|about yourself|introduce yourself|"
        r"你是谁|你是什么|你能做什么|你会什么|介绍.{0,4}自己"
    )
    if re.search(asked, talk.said, re.I) or talk.said.strip().lower() in ("help", "帮助"):
        return Answer(ABOUT_ZH if talk.chinese else ABOUT_EN)
    return None


def _name(talk: Talk) -> Answer | None:
    if re.search(r"what(?:'s| is) my name|who am i|我叫什么|我的名字是什么|我是谁", talk.said, re.I):
        for text in reversed(talk.earlier):
            found = _NAME.search(text)
            if found:
                return Answer(f"您叫{found[1]}。" if talk.chinese else f"Your name is {found[1]}.")
        return Answer("您还没有告诉我。" if talk.chinese else "You have not told me yet.")
    found = _NAME.search(talk.said)
    if found:
        return Answer(f"很高兴认识您，{found[1]}！" if talk.chinese else f"Nice to meet you, {found[1]}!")
    return None


def _history(talk: Talk) -> Answer | None:
    if not re.search(
        r"what (?:did|have) i (?:say|said|tell|told|ask)|我(?:刚才|之前|前面|先前)?说(?:过|了)?(?:什么|啥)",
        talk.said,
        re.I,
    ):
        return None
    if not talk.earlier:
        return Answer("这是您的第一条消息。" if talk.chinese else "This is your first message.")
    lines = [f"{number}. {_short(text)}" for number, text in enumerate(talk.earlier, 1)]
    head = "您之前说过：" if talk.chinese else "Before this you said:"
    return Answer("\n".join([head, *lines[-20:]]))


def _say(talk: Talk) -> Answer | None:
    found = re.match(r"\s*(?:echo|say|repeat)\s*[:：]?\s+(.+)|\s*(?:重复|复述)\s*[:：]?\s*(.+)", talk.said, re.I | re.S)
    return Answer((found[1] or found[2]).strip()) if found else None


def _sum(talk: Talk) -> Answer | None:
    found = _SUM.match(talk.said.strip()) if len(talk.said) < 200 else None
    if found and talk.hands_over:
        return HANDOVER
    if found and "calculator" in talk.tools:
        return Answer(calls=(("calculator", json.dumps({"expression": found[1].strip()})),))
    return None


def _greet(talk: Talk) -> Answer | None:
    if not re.match(r"\s*(?:hi|hello|hey|good (?:morning|evening|day)|你好|您好|嗨)[\s!.,！。，]*$", talk.said, re.I):
        return None
    return Answer(
        "您好！我是内置的演示模型。问我“你是谁”，我会告诉您我能做什么。"
        if talk.chinese
        else "Hello! I am the built-in demo model. Ask me “who are you?” and I tell you what you can try."
    )


_RULES: tuple[Callable[[Talk], Answer | None], ...] = (
    _use, _say, _count, _story, _history, _name, _key, _about, _time, _sum, _greet,
)  # fmt: skip


_ONLY_ZH = "我只是演示模型；想用真正的模型，请问我“如何设置密钥”。"


def _echo(talk: Talk) -> str:
    number = len(talk.earlier) + 1
    said = _short(talk.said, 2_000)
    if talk.chinese:
        seen = f"（附带{talk.images}张图片）" if talk.images else ""
        return f"您说：“{said}”{seen}。这是我们对话中您的第{number}条消息。" + _ONLY_ZH
    seen = f" (with {talk.images} pictures)" if talk.images else ""
    return (
        f"You said: “{said}”{seen}. It is your message number {number} in this conversation. I am only the demo "
        "model; for a real one, ask me how to set a key."
    )


def _short(text: str, most: int = 200) -> str:
    return text if len(text) <= most else text[:most] + "…"

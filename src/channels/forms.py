"""A tool server's question with one simple field, as buttons or as a text to be answered: pure.

MCP's form elicitation (2025-06-18 and later) asks for an object with flat fields. What has exactly one of them, a
text, a number, a yes or no or one of a few, can be asked and answered in a chat; one without any asks only for a
consent. For everything else `form_of` has no form, and the chat points to a client that can show it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bus.events import JsonObject
from channels.base import Button
from channels.text import clean
from channels.wording import say

MOST_BUTTONS = 12
ROWS = 4
"""Discord shows five rows; the last is for declining."""
_LABEL_CHARS = 60
_ABOUT_CHARS = 300
_MESSAGE_CHARS = 1000
_MOST_CHOICES = 40
_YES = frozenset({"yes", "y", "true", "1", "是", "好", "对"})
_NO = frozenset({"no", "n", "false", "0", "否", "不", "不是"})
DECLINE = "d"

Kind: TypeAlias = Literal["consent", "choice", "text", "number", "integer"]


@dataclass(frozen=True, slots=True)
class Choice:
    """`words` are what may be typed for it, in lower case."""

    label: str
    value: Any
    words: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """What is asked for. `least` and `most` bound a number, or the length of a text."""

    kind: Kind
    name: str = ""
    about: str = ""
    choices: tuple[Choice, ...] = ()
    least: float | None = None
    most: float | None = None

    def content(self, value: Any) -> JsonObject:
        """The answer as the server gets it."""
        return {self.name: value} if self.name else {}


class Unreadable(ValueError):
    """The text is no answer to the form; the message says what is one, in the person's language."""


def form_of(schema: Mapping[str, Any], language: str) -> Form | None:
    """The form of a question, or None where a chat can't ask it."""
    fields = schema.get("properties")
    if schema.get("type") != "object" or not isinstance(fields, dict) or len(fields) > 1:
        return None
    if not fields:
        return Form(kind="consent", choices=(_choice(say("agree", language), True),))
    ((name, field),) = fields.items()
    return _field(str(name), field, language) if isinstance(field, dict) else None


def _field(name: str, field: Mapping[str, Any], language: str) -> Form | None:
    title, description = clean(str(field.get("title") or "")), clean(str(field.get("description") or ""))
    about = " – ".join(part for part in (title, description) if part)[:_ABOUT_CHARS]
    choices = _choices(field, language)
    if choices:
        return Form(kind="choice", name=name, about=about, choices=choices) if len(choices) <= _MOST_CHOICES else None
    match field.get("type"):
        case "string":
            return Form(kind="text", name=name, about=about, least=_bound(field.get("minLength")),
                        most=_bound(field.get("maxLength")))  # fmt: skip
        case "number" | "integer" as kind:
            return Form(kind=kind, name=name, about=about, least=_bound(field.get("minimum")),
                        most=_bound(field.get("maximum")))  # fmt: skip
        case _:
            return None


def _choices(field: Mapping[str, Any], language: str) -> tuple[Choice, ...]:
    if field.get("type") == "boolean":
        yes, no = say("yes", language), say("no", language)
        return (Choice(yes, True, _YES | {yes.lower()}), Choice(no, False, _NO | {no.lower()}))
    if field.get("type") != "string":
        return ()
    titled = field.get("oneOf")
    if isinstance(titled, list):
        return tuple(_choice(str(each.get("title") or each["const"]), each["const"]) for each in titled
                     if isinstance(each, dict) and isinstance(each.get("const"), str))  # fmt: skip
    values, names = field.get("enum"), field.get("enumNames")
    if not isinstance(values, list):
        return ()
    labels = names if isinstance(names, list) and len(names) == len(values) else values
    return tuple(_choice(str(label), value) for label, value in zip(labels, values, strict=True))


def _choice(label: str, value: Any) -> Choice:
    shown = clean(label).strip() or "–"
    return Choice(shown, value, frozenset({shown.lower(), str(value).strip().lower()}))


def _bound(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value)
    except OverflowError:  # JSON's integers have no end: as good as unbounded
        return math.inf if value > 0 else -math.inf


def question(message: str, form: Form, language: str, *, by_buttons: bool) -> str:
    """What is asked, and how it is answered."""
    lines = [say("asked", language, message=clean(message)[:_MESSAGE_CHARS])]
    if form.about:
        lines.append(form.about)
    if form.kind in ("choice", "consent"):
        if not (by_buttons and has_buttons(form)):
            lines.append("\n".join(f"{n}. {choice.label[:_LABEL_CHARS]}" for n, choice in enumerate(form.choices, 1)))
            lines.append(say("reply_choice", language))
    else:
        lines.append(say("reply_text" if form.kind == "text" else "reply_number", language))
    return "\n\n".join(lines)


def has_buttons(form: Form) -> bool:
    """Whether its choices fit under a message."""
    return 0 < len(form.choices) <= MOST_BUTTONS


def buttons(token: str, form: Form, language: str) -> tuple[tuple[Button, ...], ...]:
    """The choices, some a row, and below them the way not to answer."""
    rows: list[tuple[Button, ...]] = []
    if has_buttons(form):
        all_of_them = [Button(c.label[:_LABEL_CHARS], f"qu:{token}:{n}") for n, c in enumerate(form.choices)]
        width = math.ceil(len(all_of_them) / ROWS)
        rows = [tuple(all_of_them[at : at + width]) for at in range(0, len(all_of_them), width)]
    return (*rows, (Button(say("decline", language), f"qu:{token}:{DECLINE}", "danger"),))


def read_button(data: str) -> tuple[str, str] | None:
    """Token and what was pressed, of a button of ours, or None."""
    words = data.split(":")
    if len(words) != 3 or words[0] != "qu" or not (words[2] == DECLINE or words[2].isdecimal()):
        return None
    return words[1], words[2]


def read(form: Form, text: str, language: str) -> tuple[Any, str] | None:
    """The value that `text` gives and how it is shown; None where it is no answer but something else.

    Raises Unreadable where it was meant as one.
    """
    said = text.strip()
    if form.choices:
        number = int(said) - 1 if said.isdecimal() and len(said) < 4 else -1
        found = next((c for n, c in enumerate(form.choices) if said.lower() in c.words or n == number), None)
        return None if found is None else (found.value, found.label)
    if form.kind == "text":
        if not _within(form, len(said)):
            raise Unreadable(say("wrong_length", language, range=_range(form)))
        return said, said
    try:
        value: float = int(said) if form.kind == "integer" else float(said.replace(",", "."))
        finite = math.isfinite(value)
    except (ValueError, OverflowError):  # the latter of an integer beyond every float: no tool reads that back
        finite = False
    if not finite or not _within(form, value):
        raise Unreadable(say("wrong_number", language, range=_range(form)))
    return value, said


def _within(form: Form, value: float) -> bool:
    return (form.least is None or value >= form.least) and (form.most is None or value <= form.most)


def _range(form: Form) -> str:
    least, most = ("" if bound is None else f"{bound:g}" for bound in (form.least, form.most))
    return f" ({least} … {most})" if least or most else ""

"""Questions with buttons, pure: their text, their buttons' data, and what they say once decided.

A button carries a random token and one letter; what the token stands for (the
approval, who asked) is in the ledger, so that a tap means the same after a
restart and tells nothing to who looks at it.
"""

import json
import secrets

from bus.events import ApprovalRequested, Decision, JsonObject
from channels.base import Button
from channels.content import ButtonStyle
from channels.wording import DECISIONS, say

_ARGUMENT_UNITS = 1200
"""UTF-16 code units, as the strictest platform counts: what somebody says yes to must be seen in one message."""


def new_token() -> str:
    """72 random bits."""
    return secrets.token_urlsafe(9)


def buttons(token: str, language: str) -> tuple[tuple[Button, ...], ...]:
    """Four decisions, one a row."""
    styles: dict[str, ButtonStyle] = {"o": "primary", "d": "danger"}
    return tuple(
        (Button(say(decision, language), f"ap:{token}:{letter}", styles.get(letter, "default")),)
        for letter, decision in DECISIONS.items()
    )


def read_button(data: str) -> tuple[str, Decision] | None:
    """Token and decision of a button of ours, or None."""
    words = data.split(":")
    if len(words) != 3 or words[0] != "ap" or words[2] not in DECISIONS:
        return None
    return words[1], DECISIONS[words[2]]


def question(event: ApprovalRequested, language: str, *, by_buttons: bool) -> str:
    """What is asked. Arguments are shown as data, in a fence that they cannot close."""
    lines = [say("question", language, tool=_code(event.tool))]
    shown = _arguments(event.arguments)
    fence = "`" * max(3, _longest_run(shown) + 1)
    lines.append(f"{fence}json\n{shown}\n{fence}")
    if event.risk:
        lines.append(say("risk", language, risk=_code(event.risk)))
    if event.where == "bridge":
        lines.append(say("at_bridge", language, id=event.approval_id))
    elif not by_buttons:
        lines.append(say("by_command", language, id=event.approval_id))
    return "\n\n".join(lines)


def _arguments(arguments: JsonObject) -> str:
    text = json.dumps(arguments, ensure_ascii=False, indent=1)
    text = text[: _ARGUMENT_UNITS + 1]  # no character takes less than one
    visible = "".join(c if c.isprintable() or c in "\n " else f"\\u{ord(c):04x}" for c in text)
    units = visible.encode("utf-16-le", "surrogatepass")
    if len(units) <= 2 * _ARGUMENT_UNITS:
        return visible
    return units[: 2 * _ARGUMENT_UNITS].decode("utf-16-le", "ignore") + " …"


def _code(text: str) -> str:
    """A name that cannot become markup."""
    return "".join(c for c in text if c.isprintable() and c not in "`*[]<>")[:100]


def _longest_run(text: str) -> int:
    best = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        best = max(best, run)
    return best

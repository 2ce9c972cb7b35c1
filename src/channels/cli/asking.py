"""Asking the person at the terminal: approvals and questions of tools.

Silence, an empty line and Ctrl-C mean no. `read_line` is given by who owns the terminal.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from channels.cli.follow import Event
from channels.cli.link import Link, LinkLost, RpcFailed
from channels.cli.screen import Screen
from channels.cli.words import readable, say


class Withdrawn(Exception):
    """Somebody else has answered, or the turn is over: there is nothing to say any more."""


ReadLine = Callable[[str], Awaitable[str]]
_DECISIONS = {
    "o": "allow_once", "once": "allow_once", "y": "allow_once", "yes": "allow_once",
    "s": "allow_session", "session": "allow_session", "a": "allow_always", "always": "allow_always",
}  # fmt: skip
"""Whole words only: somebody who types "stop" or "abort" allows nothing."""

_YES = frozenset({"y", "yes", "true", "1", "是"})


async def ask_approval(event: Event, link: Link, screen: Screen, read_line: ReadLine) -> None:
    """Show the call, ask, and bring the answer to the gateway."""
    approval_id = str(event["approval_id"])
    screen.approval(event)
    if event.get("where") == "bridge":
        screen.notice(say("elsewhere", screen.language, id=approval_id))
        return
    try:
        word = await read_line(say("ask_keys", screen.language))
    except Withdrawn:
        return
    except (EOFError, KeyboardInterrupt):
        word = ""
    decision = _DECISIONS.get(word.strip().lower(), "deny")
    await _tell(link, screen, "approval.resolve", approval_id=approval_id, decision=decision)


async def ask_question(event: Event, link: Link, screen: Screen, read_line: ReadLine) -> None:
    """Ask for each field of a tool's question."""
    question_id = str(event["question_id"])
    screen.notice(say("question", screen.language, message=str(event.get("message"))))
    screen.notice(say("decline", screen.language))
    schema = event.get("schema") or {}
    content: dict[str, Any] = {}
    fields = schema.get("properties") or {}
    try:
        if not fields and (await read_line(say("yes_no", screen.language))).strip().lower() not in _YES:
            raise EOFError  # nothing to fill in: the yes itself is what is asked for
        for name, field in fields.items():
            title = readable(str(field.get("title") or name))
            options = field.get("enum")
            hint = f" ({' | '.join(map(str, options))})" if options else ""
            text = (await read_line(f"{title}{hint}: ")).strip()
            if text:
                content[name] = _typed(text, str(field.get("type")))
    except Withdrawn:
        return
    except (EOFError, KeyboardInterrupt):
        await _tell(link, screen, "question.answer", question_id=question_id, action="decline")
        return
    await _tell(link, screen, "question.answer", question_id=question_id, action="accept", content=content)


def _typed(text: str, kind: str) -> Any:
    try:
        if kind == "integer":
            return int(text)
        if kind == "number":
            return float(text)
    except ValueError:
        return text
    if kind == "boolean":
        return text.lower() in _YES
    return text


async def _tell(link: Link, screen: Screen, method: str, **params: Any) -> None:
    try:
        await link.call(method, **params)
    except RpcFailed as error:
        screen.error(error.message)
    except LinkLost:
        screen.error(say("lost", screen.language))

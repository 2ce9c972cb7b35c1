"""Asking the person at the terminal: approvals and questions of tools.

Silence, an empty line and Ctrl-C mean no. `read_line` is given by who owns the terminal.
"""

import asyncio
import math
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
    "是": "allow_once", "允许": "allow_once", "允许一次": "allow_once", "本会话": "allow_session",
    "总是": "allow_always", "总是允许": "allow_always",
}  # fmt: skip
"""Whole words only: somebody who types "stop" or "abort" allows nothing."""

_YES = frozenset({"y", "yes", "true", "1", "是"})


class Asker:
    """Asks one question after the other while events are read on: somebody else may answer any of them first.

    `withdraw` takes the question back that is on the screen now.
    """

    def __init__(self, link: Link, screen: Screen, read_line: ReadLine, withdraw: Callable[[], None]) -> None:
        self._link = link
        self._screen = screen
        self._read_line = read_line
        self._withdraw = withdraw
        self._waiting: list[Event] = []
        self._now: str | None = None
        self._withdrawn = False
        self._task: asyncio.Task[None] | None = None

    def ask(self, tasks: asyncio.TaskGroup, event: Event) -> None:
        """Ask it when its turn comes."""
        self._waiting.append(event)
        if self._task is None or self._task.done():
            self._task = tasks.create_task(self._work())

    async def _work(self) -> None:
        while self._waiting:
            event = self._waiting.pop(0)
            self._now, self._withdrawn = _id(event), False
            ask = ask_question if event["type"] == "question.requested" else ask_approval
            await ask(event, self._link, self._screen, self._read)
            self._now = None

    async def _read(self, prompt: str) -> str:
        if self._withdrawn:  # before there was anything on the screen to take back
            raise Withdrawn
        return await self._read_line(prompt)

    def answered(self, approval_id: str) -> None:
        """Somebody has answered it."""
        self._waiting = [event for event in self._waiting if _id(event) != approval_id]
        if self._now == approval_id:
            self._take_back()

    def over(self) -> None:
        """The turn has ended: nothing is asked any more."""
        self._waiting = []
        if self._now is not None:
            self._take_back()

    def _take_back(self) -> None:
        self._withdrawn = True
        self._withdraw()


def _id(event: Event) -> str:
    return str(event.get("approval_id") or event.get("question_id"))


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
    fields = _fields(schema)
    try:
        if not fields and (await read_line(say("yes_no", screen.language))).strip().lower() not in _YES:
            raise EOFError  # nothing to fill in: the yes itself is what is asked for
        for name, field in fields.items():
            title = readable(str(field.get("title") or name))
            options = field.get("enum")
            hint = f" ({readable(' | '.join(map(str, options)))})" if isinstance(options, list) else ""
            text = (await read_line(f"{title}{hint}: ")).strip()
            if text:
                content[name] = _typed(text, str(field.get("type")))
    except Withdrawn:
        return
    except (EOFError, KeyboardInterrupt):
        await _tell(link, screen, "question.answer", question_id=question_id, action="decline")
        return
    await _tell(link, screen, "question.answer", question_id=question_id, action="accept", content=content)


def _fields(schema: Any) -> dict[str, dict[str, Any]]:
    """The fields of a form; it comes from a stranger's server, by way of a bridge that may be a stranger's, too."""
    found = schema.get("properties") if isinstance(schema, dict) else None
    return {name: f for name, f in found.items() if isinstance(f, dict)} if isinstance(found, dict) else {}


def _typed(text: str, kind: str) -> Any:
    try:
        if kind == "integer":
            return int(text)
        if kind == "number" and math.isfinite(number := float(text)):  # JSON has no other
            return number
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

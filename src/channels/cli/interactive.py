"""A conversation at the terminal: a line editor with history, streaming answers, approvals inline.

While an answer streams Ctrl-C stops it; at the prompt a first Ctrl-C clears the line and
a second one leaves, as Ctrl-D does. Slash commands are messages like any other; only
/quit and /exit are ours. What others say in the session shows up above the prompt.
"""

import asyncio
import secrets
from pathlib import Path
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.patch_stdout import patch_stdout

from bus.commands import COMMANDS
from channels.cli.asking import Asker, Withdrawn
from channels.cli.follow import TERMINAL
from channels.cli.link import Link, RpcFailed
from channels.cli.once import Interrupts, next_event
from channels.cli.screen import Screen
from channels.cli.words import say

LEAVING = frozenset({"/quit", "/exit"})


class _Commands(Completer):
    """The slash commands of the one registry."""

    def __init__(self, language: str) -> None:
        self._language = language

    def get_completions(self, document: Any, complete_event: Any) -> Any:
        text = document.text_before_cursor
        if not text.startswith("/") or " " in text:
            return
        for command in COMMANDS:
            if command.name.startswith(text[1:].lower()):
                meta = command.zh if self._language == "zh" else command.en
                yield Completion("/" + command.name, start_position=-len(text), display_meta=meta)


def _history(path: Path | None) -> History:
    """Kept in a file that only its owner reads; in memory where that can't be."""
    if path is None:
        return InMemoryHistory()
    try:
        path.touch(mode=0o600)
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    return keys


class Conversation:
    """The loop of one person at one terminal."""

    def __init__(self, link: Link, screen: Screen, history: Path | None) -> None:
        self._link = link
        self._screen = screen
        self._prompt: PromptSession[str] = PromptSession(
            history=_history(history),
            completer=_Commands(screen.language),
            complete_while_typing=False,
            key_bindings=_keys(),
        )
        self._answers: PromptSession[str] = PromptSession()
        self._asker = Asker(link, screen, self._line, self._stop_asking)

    async def run(self) -> int:
        """Talk until the person leaves; the exit code."""
        link, screen = self._link, self._screen
        await link.ready()
        link.changed = lambda connected: screen.notice(say("back" if connected else "lost", screen.language))
        server = link.welcome.get("server") or {}
        name = f"{server.get('name', 'gateway')} {server.get('version', '')}".strip()
        screen.notice(say("hello", screen.language, server=name, user=link.welcome.get("user", "")))
        warned = False
        while True:
            try:
                line = await self._read()
            except KeyboardInterrupt:
                if warned:
                    return 0
                warned = True
                screen.notice(say("leave", screen.language))
                continue
            warned = False
            if line is None or line.strip() in LEAVING:
                return 0
            if line.strip():
                await self._turn(line.strip())

    async def _read(self) -> str | None:
        """A line from the person, None at Ctrl-D; meanwhile what others say is shown above."""
        with patch_stdout(raw=True):
            async with asyncio.TaskGroup() as tasks:
                watching = tasks.create_task(self._watch())
                try:
                    return await self._prompt.prompt_async("› ")
                except EOFError:
                    return None
                finally:
                    watching.cancel()

    async def _watch(self) -> None:
        """Events while nobody waits for an answer: other clients of the same session."""
        while True:
            event = await self._link.events.get()
            if event["type"] == "chat.delta":
                continue  # the whole answer comes with chat.done: half lines would tear the prompt
            if event["type"] == "approval.requested":
                tool, approval_id = event.get("tool"), event.get("approval_id")
                self._screen.notice(say("waiting", self._screen.language, tool=tool, id=approval_id))
            self._screen.show(event)

    async def _turn(self, text: str) -> None:
        """Say it and show the answer to its end; what the gateway refuses is said, and the conversation goes on."""
        link = self._link
        async with Interrupts(link, lambda: self._screen.notice(say("stopping", self._screen.language))):
            try:
                message_id = await link.send(text, secrets.token_hex(16))
            except RpcFailed as error:
                self._screen.error(str(error))
                return
            async with asyncio.TaskGroup() as tasks:
                while True:
                    event = await next_event(link, self._screen)
                    kind = event["type"]
                    if kind in ("approval.requested", "question.requested"):
                        self._asker.ask(tasks, event)
                        continue
                    if kind == "approval.resolved":
                        self._asker.answered(str(event.get("approval_id")))
                    self._screen.show(event)
                    if kind in TERMINAL and event.get("message_id") == message_id:
                        self._asker.over()
                        break

    async def _line(self, prompt: str) -> str:
        return await self._answers.prompt_async(prompt, handle_sigint=False)

    def _stop_asking(self) -> None:
        """Somebody else has answered, or the turn is over."""
        app = self._answers.app
        if app.is_running and not app.is_done:
            app.exit(exception=Withdrawn())

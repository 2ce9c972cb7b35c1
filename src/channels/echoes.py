"""What was asked at another client of a platform's conversation (a browser, a program), shown before its answer.

The answer comes to the chat too, and without its question nobody there would know what it is about. Above is
`host.py`; the words are `narrator.py`'s.
"""

from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from bus.events import ChatMessage
from channels import narrator
from channels.base import Address
from channels.items import Item
from channels.lane import Lane
from channels.ledger import Ledger

LANGUAGES_KEPT = 4096


class Echoes:
    """For one channel. It remembers in which language people speak, and else asks the ledger."""

    def __init__(self, name: str, *, ledger: Ledger, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._own = f"channel:{name}"
        self._ledger = ledger
        self._spawn = spawn
        self._languages: dict[str, str] = {}

    def speaks(self, session: str, language: str) -> None:
        """Somebody spoke in `session`."""
        if len(self._languages) >= LANGUAGES_KEPT:
            self._languages.clear()
        self._languages[session] = language

    def show(self, lane: Lane, event: ChatMessage, to: Address) -> None:
        """Show the question, unless it was asked here. Never waits: its answer may be the next event."""
        if event.role != "user" or event.origin == self._own:
            return
        language = self._languages.get(event.session.text)
        item = lane.chat.notice(to, narrator.echo(event, language or "en"))
        lane.wake()
        if language is None:
            self._spawn(self._in_his_language(lane, item, event))

    async def _in_his_language(self, lane: Lane, item: Item, event: ChatMessage) -> None:
        person = await self._ledger.person(event.session.text)
        if person is None:
            return
        self.speaks(event.session.text, person[2])
        if item.want is not None:
            lane.chat.change(item, replace(item.want, markdown=narrator.echo(event, person[2])))
            lane.wake()

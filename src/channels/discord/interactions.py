"""A tap or a command of the native menu, answered as Discord wants it: a sign within 3 seconds, the rest later.

What is said in answer to a command is a message like any other, so the sign is a
passing one that only its user sees and that goes when the command was taken in.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from channels.discord.parse import Object
from channels.errors import ChannelError

_log = logging.getLogger("channels.discord")

COMMAND, TAP = 2, 3
_EPHEMERAL = 64
_DEFERRED_MESSAGE, _DEFERRED_UPDATE = 5, 6


class Call(Protocol):
    """A request to Discord. Raises channels.errors."""

    async def __call__(self, method: str, path: str, words: dict[str, str], body: Any = None) -> Any: ...


class Interaction:
    """One interaction, as the gateway brought it. Its token is good for 15 minutes."""

    def __init__(self, data: Object, call: Call, application: Callable[[], str]) -> None:
        self.data = data
        self._call = call
        self._application = application

    async def promise_answer(self) -> None:
        """The waiting sign, for this user alone."""
        await self._acknowledge({"type": _DEFERRED_MESSAGE, "data": {"flags": _EPHEMERAL}})

    async def promise_change(self) -> None:
        """A tap was noticed; it counts also where that comes too late for Discord."""
        try:
            await self._acknowledge({"type": _DEFERRED_UPDATE})
        except ChannelError as error:
            _log.info("a tap was not acknowledged: %s", error.reason)

    async def _acknowledge(self, body: Object) -> None:
        words = {"id": self.data["id"], "token": self.data["token"]}
        await self._call("POST", "/interactions/{id}/{token}/callback", words, body)

    async def end_promise(self) -> None:
        """The waiting sign goes."""
        await self._finish("DELETE", "/messages/@original", None)

    async def tell(self, text: str) -> None:
        """A passing note for this user alone; nothing for an empty text."""
        if text:
            await self._finish("POST", "", {"content": text, "flags": _EPHEMERAL})

    async def _finish(self, method: str, rest: str, body: Object | None) -> None:
        words = {"webhook_id": self._application(), "webhook_token": self.data["token"]}
        try:
            await self._call(method, "/webhooks/{webhook_id}/{webhook_token}" + rest, words, body)
        except ChannelError as error:
            _log.info("an interaction could not be finished: %s", error.reason)

"""The same call under the same idempotency key: done once, answered as often as it is asked.

For a person's bare `tools.call` while it runs, and for answers that are asked for again soon. What has to
survive a restart is in `gateway/tools/kept_calls.py`, what a bridge executed in the bridge's ledger too.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from bus.errors import CallCancelled, GatewayError, OutcomeUnknown
from bus.events import JsonObject

_KEPT = 2000
_SECONDS = 86_400.0


class Entry:
    """One key: what it stands for, and its answer once there is one."""

    def __init__(self, content: Any) -> None:
        self.content = content
        self.since = time.monotonic()
        self._lock = asyncio.Lock()
        self._answer: JsonObject | None = None
        self._error: GatewayError | None = None
        self._left = False
        """Whether a caller left while it ran: what he had begun was cancelled."""

    def same(self, content: Any) -> bool:
        """Whether the key was first used for this content."""
        return bool(self.content == content)

    async def once(self, run: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        """The first answer; runs if there is none. An error that may have had an effect is an answer too."""
        async with self._lock:
            if self._error is not None:
                raise self._error
            if self._answer is None:
                try:
                    self._answer = await run()
                except asyncio.CancelledError:
                    self._left = True
                    raise
                except GatewayError as error:
                    if error.effect == "none":
                        raise
                    self._error = error
                    if not (self._left and isinstance(error, CallCancelled)):
                        raise
                    why = "whoever called first left; whether it was done is unknown"  # it was not this caller
                    self._error = OutcomeUnknown(why, effect=error.effect)
                    raise self._error from error
            return self._answer


class Remembered:
    """Entries by user and key."""

    def __init__(self) -> None:
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()

    def enter(self, key: Hashable, content: Any) -> Entry:
        """The entry of this key, made for `content` if it is new."""
        found = self._entries.get(key)
        if found is None or found.since < time.monotonic() - _SECONDS:
            found = self._entries[key] = Entry(content)
            while len(self._entries) > _KEPT:
                self._entries.popitem(last=False)
        return found

    def forget(self, wanted: Callable[[Hashable], bool]) -> None:
        """The entries whose keys are `wanted` no more."""
        for key in [key for key in self._entries if wanted(key)]:
            del self._entries[key]

"""The same call under the same idempotency key: done once, answered as often as it is asked.

For a person's bare `tools.call` while it runs, and for answers that are asked for again soon. What has to
survive a restart is in `gateway/tools/kept_calls.py`, what a bridge executed in the bridge's ledger too.
"""

import asyncio
import sys
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

from bus.errors import CallCancelled, GatewayError, OutcomeUnknown
from bus.events import JsonObject

_KEPT = 2000
_BYTES = 16 * 1024 * 1024
"""Of all answers together. One that has to go is asked for below, where what may not be done twice is written down."""
_PER_VALUE = 64
_SECONDS = 86_400.0


class Entry:
    """One key: what it stands for, and its answer once there is one."""

    def __init__(self, content: Any, answered: Callable[[], None]) -> None:
        self.content = content
        self.since = time.monotonic()
        self.weight = 0
        """Of the answer, in bytes; 0 while there is none."""
        self._answered = answered
        self._lock = asyncio.Lock()
        self._answer: JsonObject | None = None
        self._error: GatewayError | None = None
        self._left = False
        """Whether a caller left while it ran: what he had begun was cancelled."""

    def same(self, content: Any) -> bool:
        """Whether the key was first used for this content."""
        return bool(self.content == content)

    @property
    def running(self) -> bool:
        """Whether somebody is at it: whoever comes with the same key has to find this entry."""
        return self._lock.locked()

    async def once(self, run: Callable[[], Awaitable[JsonObject]]) -> JsonObject:
        """The first answer; runs if there is none. An error that may have had an effect is an answer too."""
        async with self._lock:
            if self._error is not None:
                raise self._error
            if self._answer is None:
                try:
                    self._answer = await run()
                    self.weight = _weight(self._answer)
                    self._answered()
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
    """Entries by user and key: so many, and their answers so large, and no more."""

    def __init__(self, *, most_bytes: int = _BYTES) -> None:
        self._entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self._most_bytes = most_bytes

    def enter(self, key: Hashable, content: Any) -> Entry:
        """The entry of this key, made for `content` if it is new."""
        found = self._entries.get(key)
        if found is None or found.since < time.monotonic() - _SECONDS:
            found = self._entries[key] = Entry(content, self._make_room)
            self._make_room()
        return found

    def _make_room(self) -> None:
        """The oldest go first, but for those that run."""
        held = self.weight
        if len(self._entries) <= _KEPT and held <= self._most_bytes:
            return
        for key, entry in list(self._entries.items()):
            if entry.running and not entry.weight:
                continue
            del self._entries[key]
            held -= entry.weight
            if len(self._entries) <= _KEPT and held <= self._most_bytes:
                return

    @property
    def weight(self) -> int:
        """Bytes of all answers that are held, about."""
        return sum(entry.weight for entry in self._entries.values())

    def forget(self, wanted: Callable[[Hashable], bool]) -> None:
        """The entries whose keys are `wanted` no more."""
        for key in [key for key in self._entries if wanted(key)]:
            del self._entries[key]


def _weight(answer: JsonObject) -> int:
    """What an answer takes, about; no more of it is looked at than would be kept."""
    total, stack = 0, [answer]
    while stack and total <= _BYTES:
        value: Any = stack.pop()
        total += _PER_VALUE + (sys.getsizeof(value) if isinstance(value, str) else 0)
        if isinstance(value, dict):
            stack += value.values()
        elif isinstance(value, list | tuple):
            stack += value
    return total

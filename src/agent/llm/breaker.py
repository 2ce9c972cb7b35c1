"""A circuit breaker for one model: after several failures in a row it is left alone for a while.

Used by `fallback.py`. The states are those of `purgatory`, which is imported at the first failure: a house whose
models answer never needs it (and purgatory imports redis wherever that is installed).
"""

import asyncio
import importlib
import time
from typing import Any

FAILURES = 5
SECONDS = 30.0


class Breaker:
    """`open` says that the model should be passed over where there is another."""

    def __init__(self, name: str, failures: int = FAILURES, seconds: float = SECONDS) -> None:
        self._name = name
        self._failures = failures
        self._seconds = seconds
        self._context: Any = None
        self._until = 0.0
        """Monotonic. purgatory itself asks the clock on the wall, which may be set."""

    @property
    def open(self) -> bool:
        """Whether it is left alone now; after its time one request may try again."""
        return self._context is not None and self._context.state == "opened" and time.monotonic() <= self._until

    @property
    def state(self) -> str:
        """`closed`, `opened` or `half-opened`."""
        if self._context is None or (self._context.state == "opened" and not self.open):
            return "closed" if self._context is None else "half-opened"
        return str(self._context.state)

    def succeeded(self) -> None:
        """It answered, whatever was thought of it: closed again."""
        if self._context is not None:
            self._context = None

    async def failed(self, error: Exception) -> None:
        """One more failure in a row."""
        if self._context is None:
            model = await asyncio.to_thread(importlib.import_module, "purgatory.domain.model")
            if self._context is None:
                self._context = model.Context(self._name, self._failures, self._seconds)
        if self.open:
            return
        context = self._context
        if context.state == "opened":
            self._context = context = type(context)(self._name, self._failures, self._seconds, state="half-opened")
        context.handle_exception(error)
        context.messages.clear()
        self._until = time.monotonic() + self._seconds

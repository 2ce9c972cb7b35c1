"""The bus as everyone but the agent sees it: in front of `submit` are the rate of messages and the book of files."""

import time
from collections.abc import Awaitable, Callable
from typing import Any

from bus.errors import IdempotencyConflict, Overloaded, RateLimited
from bus.events import Accepted, Event, InboundMessage
from bus.message_bus import Acceptor, Handler, MessageBus, Overflow, Selector, Sink, Subscription
from gateway.limits import MessageRate

Known = Callable[[str, str], Awaitable[object | None]]
Taken = Callable[[InboundMessage], Awaitable[None]]


async def _nothing_is_known(user: str, idempotency_key: str) -> None:
    return None


async def _no_files(message: InboundMessage) -> None:
    return None


class MeteredBus:
    """Implements `MessageBus` over another. `known` tells what a user did under an idempotency key, or None; `taken`
    writes down, before a message is handed in, that its session refers to its files."""

    def __init__(
        self, inner: MessageBus, rate: MessageRate, now: Callable[[], float] = time.monotonic, *,
        known: Known = _nothing_is_known, taken: Taken = _no_files,
    ) -> None:  # fmt: skip
        self._inner = inner
        self._rate = rate
        self._known = known
        self._now = now
        self._taken = taken

    async def submit(self, message: InboundMessage) -> Accepted:
        """As the bus does; raises RateLimited (1005) too. What only becomes context is not counted, nor what is
        refused because we are overloaded (1007): its sender is asked to repeat it. A repeat is no message of its own:
        who lost his connection gets his answer, however much he had said before. Raises NotFound for a file that went
        with its session meanwhile."""
        await self._taken(message)
        if not message.wants_reply:
            return await self._inner.submit(message)
        user, now = message.actor.user, self._now()
        try:
            self._rate.take(user, now)
        except RateLimited:
            if message.idempotency_key is None or await self._known(user, message.idempotency_key) is None:
                raise
            return await self._inner.submit(message)
        try:
            accepted = await self._inner.submit(message)
        except (Overloaded, IdempotencyConflict):
            self._rate.give_back(user, now)
            raise
        if accepted.repeated:
            self._rate.give_back(user, now)
        return accepted

    def accept_with(self, acceptor: Acceptor) -> Callable[[], None]:
        return self._inner.accept_with(acceptor)

    def publish(self, event: Event) -> None:
        self._inner.publish(event)

    def attach(self, sink: Sink, *, deltas: bool = True) -> Callable[[], None]:
        return self._inner.attach(sink, deltas=deltas)

    def subscribe(self, name: str, selector: Selector, policy: Overflow, capacity: int = 1000) -> Subscription:
        return self._inner.subscribe(name, selector, policy, capacity)

    async def request(self, subject: str, payload: Any, *, seconds: float) -> Any:
        return await self._inner.request(subject, payload, seconds=seconds)

    def serve(self, subject: str, handler: Handler) -> Callable[[], None]:
        return self._inner.serve(subject, handler)

    async def run(self) -> None:
        await self._inner.run()

"""The bus as everyone but the agent sees it: with the rate of messages in front of `submit`."""

import time
from collections.abc import Callable
from typing import Any

from bus.errors import Overloaded
from bus.events import Accepted, Event, InboundMessage
from bus.message_bus import Acceptor, Handler, MessageBus, Overflow, Selector, Sink, Subscription
from gateway.limits import MessageRate


class MeteredBus:
    """Implements `MessageBus` over another."""

    def __init__(self, inner: MessageBus, rate: MessageRate, now: Callable[[], float] = time.monotonic) -> None:
        self._inner = inner
        self._rate = rate
        self._now = now

    async def submit(self, message: InboundMessage) -> Accepted:
        """As the bus does; raises RateLimited (1005) too. What only becomes context is not counted, nor what is
        refused because we are overloaded (1007): its sender is asked to repeat it."""
        if not message.wants_reply:
            return await self._inner.submit(message)
        user, now = message.actor.user, self._now()
        self._rate.take(user, now)
        try:
            return await self._inner.submit(message)
        except Overloaded:
            self._rate.give_back(user, now)
            raise

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

"""The rate of messages in front of the bus: what is refused for overload and comes again counts once."""

import time

import pytest

from bus.errors import Overloaded, RateLimited
from bus.events import Accepted, Actor, InboundMessage
from bus.keys import default_key
from bus.message_bus import MemoryBus
from gateway.limits import MessageRate
from gateway.metered_bus import MeteredBus


def message(text: str, *, wants_reply: bool = True) -> InboundMessage:
    return InboundMessage(
        session=default_key("alice"), actor=Actor(user="alice"), text=text, message_id=text, received_at=time.time(),
        wants_reply=wants_reply,
    )  # fmt: skip


class Door:
    """An acceptor that is overloaded for its first messages."""

    def __init__(self, bus: MemoryBus, refusals: int) -> None:
        self.refusals = refusals
        self.taken: list[str] = []
        bus.accept_with(self.accept)

    async def accept(self, message: InboundMessage) -> Accepted:
        if self.refusals:
            self.refusals -= 1
            raise Overloaded("busy", retry_after_ms=10)
        self.taken.append(message.text)
        return Accepted(message_id=message.message_id, session=message.session, seq=1)


async def test_a_message_that_is_offered_again_after_1007_counts_once() -> None:
    inner = MemoryBus()
    door = Door(inner, refusals=50)
    bus = MeteredBus(inner, MessageRate(3))
    for _ in range(50):
        with pytest.raises(Overloaded):
            await bus.submit(message("one"))
    for text in ("one", "two", "three"):
        await bus.submit(message(text))
    with pytest.raises(RateLimited):
        await bus.submit(message("four"))
    assert door.taken == ["one", "two", "three"]


async def test_what_becomes_context_is_not_counted() -> None:
    inner = MemoryBus()
    Door(inner, refusals=0)
    bus = MeteredBus(inner, MessageRate(1))
    for number in range(5):
        await bus.submit(message(f"aside {number}", wants_reply=False))
    await bus.submit(message("asked"))
    with pytest.raises(RateLimited):
        await bus.submit(message("again"))

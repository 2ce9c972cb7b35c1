"""A reader of events that is no socket: for server-sent events and whoever else awaits them one by one.

Bounded like a socket's outbox: deltas merge while nobody takes them, and one mebibyte ends the stream.
"""

import asyncio

from bus.context import new_id
from bus.errors import Overloaded
from gateway.outbox import Outbox
from gateway.packets import Packet

MERGE_FROM = 64


class EventStream:
    """The reader. It never ends by itself."""

    def __init__(self) -> None:
        self.origin = new_id("conn")
        self._outbox = Outbox()
        self._wake = asyncio.Event()
        self._overflowed = False

    def push(self, packet: Packet) -> None:
        """Take an event from the hub."""
        if not self._overflowed:
            self._overflowed = not self._outbox.event(packet, congested=len(self._outbox) >= MERGE_FROM)
            self._wake.set()

    async def take(self, seconds: float) -> Packet | None:
        """The next event, or None where none came within `seconds`. Raises Overloaded for a reader too slow."""
        while True:
            packet = self._outbox.take_packet()
            if packet is not None:
                return packet
            if self._overflowed:
                raise Overloaded("too slow a reader", retry_after_ms=1000)
            self._wake.clear()
            try:
                async with asyncio.timeout(seconds):
                    await self._wake.wait()
            except TimeoutError:
                return None

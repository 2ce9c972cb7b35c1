"""A reader of events that is no socket: for server-sent events and whoever else awaits them one by one.

Bounded like a socket's outbox: deltas merge while nobody takes them, and one mebibyte ends the stream.
"""

import asyncio
from collections.abc import AsyncIterator

from bus.context import new_id
from bus.errors import Overloaded
from gateway.outbox import Outbox
from gateway.packets import Packet

MERGE_FROM = 64


class EventStream:
    """The reader. Iterate to take events; it never ends by itself."""

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

    async def __aiter__(self) -> AsyncIterator[Packet]:
        while True:
            packet = self._outbox.take_packet()
            if packet is not None:
                yield packet
                continue
            if self._overflowed:
                raise Overloaded("too slow a reader", retry_after_ms=1000)
            self._wake.clear()
            await self._wake.wait()

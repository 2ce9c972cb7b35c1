"""The WebSocket clients as a channel: events go to the hub as they are, without a delivery stage.

The web UI, `gateway chat` and programs speak the protocol themselves and know no
limits of length or rate, so there is nothing to split, to pace or to keep. What
they say comes in by `gateway/handlers`; slow readers are the hub's affair.
"""

import asyncio

from bus.message_bus import Events
from channels.base import ChannelState
from channels.ports import ClientSink


class WebSocketChannel:
    """Hands every event to `sink`, in order, at once."""

    name = "websocket"

    def __init__(self, events: Events, sink: ClientSink) -> None:
        self._events = events
        self._sink = sink
        self.state = ChannelState()

    async def run(self) -> None:
        """Serve until cancelled."""
        leave = self._events.attach(self._sink.deliver)
        self.state = ChannelState("ready")
        try:
            await asyncio.Event().wait()
        finally:
            leave()
            self.state = ChannelState("off")

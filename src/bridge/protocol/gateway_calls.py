"""The calls of one bridge: which are awaited, which wait for room, which ids it was ever sent.

The part of the gateway's side that builds and signs `MCP_REQUEST`s. `gateway_side.py` stands above and gives it
the live connection; it reads no frame and knows no clock.
"""

from collections.abc import Collection

from bridge.errors import BadParameters, Overloaded
from bridge.protocol.canonical import signature
from bridge.protocol.frames import JsonObject, Send, encode
from bridge.protocol.gateway_effects import Limits, Link, Outgoing
from bridge.protocol.recent import Recent

_REMEMBERED_IDS = 16_384


class CallBook:
    """Awaited calls by id. `link` is the live connection, or None."""

    __slots__ = ("_bridge_id", "_limits", "_queue", "_sent", "active", "awaited", "link")

    def __init__(self, bridge_id: str, limits: Limits) -> None:
        self.link: Link | None = None
        self.awaited: dict[str, Outgoing] = {}
        self.active: dict[str, None] = {}
        """Those the bridge has, or shall have as soon as it is there; the others wait for room."""
        self._bridge_id = bridge_id
        self._limits = limits
        self._queue: dict[str, None] = {}
        self._sent: Recent[str, int] = Recent(_REMEMBERED_IDS)

    def was_sent(self, call_id: str) -> bool:
        return call_id in self._sent

    def add(self, call: Outgoing, *, there: bool = False) -> list[Send]:
        """Send a call, or let it wait. Raises Overloaded, BadParameters.

        One that is `there`, at the bridge, since before a restart of the gateway, has its room already.
        """
        if not there and len(self._queue) >= self._limits.max_queued:
            raise Overloaded("too many calls wait for this bridge", retry_after_ms=1000)
        self.awaited[call.id] = call
        if not there and len(self.active) >= self._limits.max_in_flight:
            self._queue[call.id] = None
            return []
        self.active[call.id] = None
        try:
            return self.transmit(call)
        except BadParameters:
            self.end(call.id)
            raise

    def resend(self, listed: Collection[str]) -> list[Send]:
        """On a new connection: what the bridge does not list, and what a person decided meanwhile."""
        frames: list[Send] = []
        for call_id in [waits for waits in self._queue if waits in listed]:
            del self._queue[call_id]  # an earlier process of the gateway sent it
            self.active[call_id] = None
        for call_id in self.active:
            call = self.awaited[call_id]
            if call_id in listed:  # whoever sent it: it may be cancelled, and its late answer is no stranger's
                call.sent = True
                self.remember(call_id, 1)
            if call_id not in listed or call.confirm is not None or call.answer is not None:
                frames.extend(self.transmit(call))
        return [*frames, *self._advance()]

    def transmit(self, call: Outgoing) -> list[Send]:
        """The call as a signed frame with the next `attempt`; nothing without a connection."""
        link = self.link
        if link is None or link.leaving:
            return []
        attempt = self._sent.get(call.id, 1 if call.repeated else 0) + 1
        control: JsonObject = {
            "deadline_ms": max(1, int(call.remaining() * 1000)),
            "idempotency_key": call.idempotency_key,
            "attempt": attempt,
            "epoch": link.epoch,
            "actor": call.actor,
        }
        for name in ("confirm", "answer", "traceparent", "server"):
            value = getattr(call, name)
            if value is not None:
                control[name] = value
        request = {"jsonrpc": "2.0", "id": call.id, "method": call.method, "params": call.params}
        signed = signature(link.key, call.id, self._bridge_id, request, control, call.arguments_sha256)
        self.remember(call.id, attempt)
        call.sent = True
        return [Send(encode("MCP_REQUEST", call.id, request, ctl=control, sig=signed))]

    def end(self, call_id: str) -> list[Send]:
        """Nobody awaits it any more; the next that waits goes."""
        self.awaited.pop(call_id, None)
        if call_id in self.active:
            del self.active[call_id]
        else:
            self._queue.pop(call_id, None)
        return self._advance()

    def _advance(self) -> list[Send]:
        frames: list[Send] = []
        while self._queue and len(self.active) < self._limits.max_in_flight:
            call_id = next(iter(self._queue))
            del self._queue[call_id]
            self.active[call_id] = None
            frames.extend(self.transmit(self.awaited[call_id]))
        return frames

    def remember(self, call_id: str, attempt: int) -> None:
        """This bridge knows the id. Attempts rise for as long as it is remembered."""
        forgotten = self._sent.put(call_id, max(attempt, self._sent.get(call_id, 0)))
        for awaited in self.awaited.keys() & forgotten.keys() if forgotten else ():
            if awaited not in self._sent:
                self._sent.put(awaited, forgotten[awaited])

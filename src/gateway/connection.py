"""One WebSocket client: frames in, replies and events out, let go where it must be.

Above is the listener, below the protocol core, the method table and the hub; `websocket.py` has the
line. Requests run beside each other; before authentication they run one after another. Writing never
waits: frames gather in the outbox and leave together once per turn of the event loop; a socket that
takes nothing makes deltas merge and at one mebibyte is closed with 4008. There is no task but those of
requests. Turns are not this connection's: it may vanish.
"""

import asyncio
from collections import deque
from dataclasses import dataclass

from bus.context import new_id
from bus.errors import NotAuthenticated, Overloaded, TokenExpired
from bus.events import JsonObject
from gateway import protocol
from gateway.answering import answer, answer_batch
from gateway.auth import Principal
from gateway.guard import Place
from gateway.handlers.call import Call
from gateway.handlers.dispatch import Dispatcher
from gateway.hub import Hub
from gateway.outbox import LIMIT, Outbox
from gateway.packets import Packet, response_frame
from gateway.protocol import Incoming, Peer, Refusal
from gateway.sockets import NOT_AUTHENTICATED, Sockets

AUTH_SECONDS = 10.0
AUTH_FAILURES = 3
AUTH_TIMEOUT = 4502
TOO_SLOW = 4008
BINARY = 1003
IN_FLIGHT = 1024
"""What one read may bring: a client that asks a thousand things in one breath is answered a thousand times."""
WRITE_AHEAD = 65_536
POLL_SECONDS = 0.02
SLOW_GRACE = 30.0


@dataclass(frozen=True, slots=True)
class House:
    """What every connection stands on."""

    dispatcher: Dispatcher
    hub: Hub
    sockets: Sockets


class Connection:
    """One client, from the upgrade to the end. Also the hub's reader of that client."""

    __slots__ = (
        "_alone", "_auth_failures", "_auth_timer", "_closing", "_congested", "_flushing", "_full", "_heard", "_house",
        "_language", "_loop", "_outbox", "_peer", "_pinged", "_place", "_requests", "_submission", "_tasks",
        "_transport", "_unread", "origin", "principal", "socket",
    )  # fmt: skip

    def __init__(
        self, transport: asyncio.Transport, house: House, principal: Principal | None, place: Place | None, *,
        max_size: int, language: str = "",
    ) -> None:  # fmt: skip
        # A mebibyte of library that a gateway to which nobody is connected does not need.
        from gateway.websocket import WebSocket

        self.socket = WebSocket(self, max_size)
        self._transport = transport
        self._house = house
        self._loop = asyncio.get_running_loop()
        self._place = place
        self._outbox = Outbox()
        self._peer = Peer()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._requests = 0
        self._submission = asyncio.Lock()
        self._flushing: asyncio.Handle | None = None
        self._unread: deque[str] = deque()
        """Came while nothing is taken: with the piece before, or out of the line's own buffer."""
        self._alone = False
        """A request before authentication runs; the next waits for it."""
        self._full = False
        """Too many replies wait for this client to read."""
        self._heard = self._loop.time()
        self._pinged = False
        self._auth_timer: asyncio.TimerHandle | None = None
        self._auth_failures = 0
        self._congested = False
        self._closing = False
        self.principal: Principal | None = None
        self.origin = new_id("conn")
        self._language = language
        house.sockets.add(self)
        if principal is not None:
            self._login(principal)
        else:
            self._auth_timer = self._loop.call_later(AUTH_SECONDS, self._too_late)

    # ------------------------------------------------------------ in

    def text(self, text: str) -> None:
        """A message came."""
        self._heard, self._pinged = self._loop.time(), False
        if self._alone or self._full:
            self._unread.append(text)
        elif not self._closing:
            self._take(text)

    def binary(self) -> None:
        """One that is none of ours."""
        self.close(BINARY, "text frames only")

    def pong(self, echo: bytes) -> None:
        """He is there."""
        self._heard, self._pinged = self._loop.time(), False

    def beat(self, seconds: float) -> None:
        """Look whether he is still there: asked after `seconds` of silence, given up after half as many more."""
        silent = self._loop.time() - self._heard
        if self._alone or self._full or self._closing:
            self._heard = self._loop.time()  # we don't read from him
        elif silent >= 1.5 * seconds:
            self._transport.abort()
        elif silent >= seconds and not self._pinged:
            self._pinged = True
            self.socket.ping(b"")

    def _take(self, text: str) -> None:
        incoming = self._peer.receive(text)
        if len(self._tasks) >= IN_FLIGHT:
            self._refuse(incoming)
        else:
            self._alone = self.principal is None
            self._requests += 1
            number = self._requests
            self._tasks[number] = self._loop.create_task(self._handle_beside(incoming, number))
        self._full = self._full or self._outbox.reply_bytes > LIMIT
        if self._alone or self._full:
            self.socket.halt(True)

    async def _handle_beside(self, incoming: Incoming, number: int) -> None:
        """As a task, which takes itself off the list: a callback for it would cost the loop another step."""
        try:
            await self._handle(incoming)
        finally:
            self._tasks.pop(number, None)
            if self._alone:
                self._alone = False
                self._go_on()

    def _go_on(self) -> None:
        """Take what waited, as far as it may be taken."""
        while self._unread and not (self._alone or self._full or self._closing):
            self._take(self._unread.popleft())
        if not (self._alone or self._full):
            self.socket.halt(False)

    async def _handle(self, incoming: Incoming) -> None:
        calls = [self._call() for _ in incoming.entries]
        dispatcher = self._house.dispatcher
        try:
            if incoming.batch:
                responses = await answer_batch(incoming.entries, calls, dispatcher, self._peer)
                if responses:
                    self._reply(responses)
            else:
                entry = incoming.entries[0]
                response = await answer(entry, calls[0], dispatcher, self._peer)
                responses = [response]
                if entry.wants_reply:
                    self._reply(response)
        finally:
            for call in calls:
                call.replied()
        if incoming.close is not None:
            self.close(incoming.close, "too many errors in a row")
        if self.principal is None:
            self._count_failures(responses)

    def _call(self) -> Call:
        return Call(
            principal=self.principal, origin=self.origin, reader=self, submission=self._submission, login=self._login,
            language=self._language,
        )  # fmt: skip

    def _refuse(self, incoming: Incoming) -> None:
        """Too many requests are under way here."""
        error = Overloaded(f"at most {IN_FLIGHT} requests at once", retry_after_ms=200)
        refused = []
        for entry in incoming.entries:
            if isinstance(entry, Refusal):
                refused += [protocol.failure(entry.id, entry.error)] if entry.wants_reply else []
            elif entry.wants_reply:
                self._peer.finished(entry.id)
                refused.append(protocol.failure(entry.id, error))
        if refused:
            self._reply(refused if incoming.batch else refused[0])
        if incoming.close is not None:
            self.close(incoming.close, "too many errors in a row")

    def _count_failures(self, responses: list[JsonObject]) -> None:
        codes = [r.get("error", {}).get("code") for r in responses]
        self._auth_failures += sum(code in (NotAuthenticated.code, TokenExpired.code) for code in codes)
        if self._auth_failures >= AUTH_FAILURES:
            self.close(NOT_AUTHENTICATED, "authenticate first")

    # ------------------------------------------------------------ who

    def _login(self, principal: Principal) -> None:
        first = self.principal is None
        self.principal = principal
        if self._auth_timer is not None:
            self._auth_timer.cancel()
            self._auth_timer = None
        if self._place is not None:
            self._place.leave()
            self._place = None
        if first:
            self._house.hub.join(self, principal.user)

    def _too_late(self) -> None:
        self._auth_timer = None
        self.close(AUTH_TIMEOUT, "no authentication in time")

    # ------------------------------------------------------------ out

    def push(self, packet: Packet) -> None:
        """Take an event from the hub."""
        if self._closing:
            return
        outbox = self._outbox
        if not self._congested and outbox.event_bytes > LIMIT:
            self._flush()  # it came at once, and the socket has not been asked yet
        if not outbox.event(packet, self._congested):
            outbox.clear()
            self.close(TOO_SLOW, "too slow a reader", grace=SLOW_GRACE)
        elif self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)

    def _reply(self, response: JsonObject | list[JsonObject]) -> None:
        if self._closing:
            return
        self._outbox.reply(response_frame(response))
        if self._flushing is None:
            self._flushing = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Write what waits, as far as the socket takes it; look again soon where it takes nothing."""
        self._flushing = None
        transport, outbox = self._transport, self._outbox
        if self._closing or transport.is_closing():
            outbox.clear()
        while len(outbox):
            if transport.get_write_buffer_size() >= WRITE_AHEAD:
                self._congested = True
                self._flushing = self._loop.call_later(POLL_SECONDS, self._flush)
                return
            transport.write(outbox.take(WRITE_AHEAD))
        self._congested = False
        if self._full:
            self._full = False
            self._go_on()

    # ------------------------------------------------------------ the end

    def close(self, code: int, reason: str = "", *, grace: float = 2.0) -> None:
        """Say goodbye: what waits is sent, then the close frame; after `grace` seconds the line is cut."""
        if self._closing:
            return
        if not self._congested:
            self._flush()
        self._closing = True
        self._outbox.clear()
        self._unread.clear()
        if self.principal is not None:
            self._house.hub.leave(self, self.principal.user)
        self.socket.halt(False)  # his own goodbye is still to be read
        self.socket.close(code, reason, grace=grace)

    def gone(self) -> None:
        """The line has ended."""
        self._closing = True
        if self._auth_timer is not None:
            self._auth_timer.cancel()
        if self._flushing is not None:
            self._flushing.cancel()
        if self._place is not None:
            self._place.leave()
        if self.principal is not None:
            self._house.hub.leave(self, self.principal.user)
        self._house.sockets.remove(self)
        self._outbox.clear()
        self._unread.clear()
        for task in tuple(self._tasks.values()):
            task.cancel()

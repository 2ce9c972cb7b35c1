"""The listener's patience with those who have not asked for anything yet.

A TCP connection must bring a whole request within ten seconds, and one address may keep only so many
waiting; the oldest go first, so a crowd that comes back at once is let in and a hoard is not. Sockets
that were upgraded without a token have ten seconds too, and places of their own (`Places`).
"""

import asyncio
import logging
from collections import Counter, OrderedDict, deque

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from bus.context import new_trace_id, trace_id
from bus.errors import BadParameters, Overloaded, RateLimited
from gateway.http.exchange import PROTECTIVE_HEADERS, error_response

log = logging.getLogger("gateway.server")

REQUEST_SECONDS = 10.0
WAITING_PER_ADDRESS = 256
WAITING = 1024
MOST = 4096
SPARED_SECONDS = 1.0
PLACES_PER_ADDRESS = 20
PLACES = 200
QUEUE = 1000
QUEUE_SECONDS = 2.0


class Waiting:
    """The TCP connections that have brought no request yet, oldest first.

    Above a limit the oldest is let go, but for its first second everybody is spared: a crowd that comes
    at once has not had its turn to speak. `MOST` holds in any case.
    """

    def __init__(self, *, total: int = WAITING, per_address: int = WAITING_PER_ADDRESS, most: int = MOST) -> None:
        self._total = total
        self._per_address = per_address
        self._most = most
        self._all: OrderedDict[GuardedHandler, tuple[str, float]] = OrderedDict()
        self._by_address: Counter[str] = Counter()

    def enter(self, handler: "GuardedHandler", address: str, now: float) -> None:
        """One more, at `now` (monotonic seconds)."""
        self._all[handler] = (address, now)
        self._by_address[address] += 1
        if len(self._all) > self._most:
            handler.give_up()
        elif self._by_address[address] > self._per_address:
            self._let_go(next((h, since) for h, (a, since) in self._all.items() if a == address), now)
        elif len(self._all) > self._total:
            first = next(iter(self._all))
            self._let_go((first, self._all[first][1]), now)

    @staticmethod
    def _let_go(oldest: "tuple[GuardedHandler, float]", now: float) -> None:
        if now - oldest[1] >= SPARED_SECONDS:
            oldest[0].give_up()

    def leave(self, handler: "GuardedHandler") -> None:
        """It has asked for something, or is gone."""
        entry = self._all.pop(handler, None)
        if entry is not None:
            self._by_address[entry[0]] -= 1
            if not self._by_address[entry[0]]:
                del self._by_address[entry[0]]

    def __len__(self) -> int:
        return len(self._all)


class GuardedHandler(web.RequestHandler):
    """aiohttp's protocol with a limit on the time to the first request."""

    __slots__ = ("_patience", "_waiting_room")

    def __init__(self, manager: web.Server, waiting: Waiting, **options: object) -> None:
        super().__init__(manager, **options)  # type: ignore[arg-type]  # handed through as they came
        self._waiting_room = waiting
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        loop = asyncio.get_running_loop()
        self._patience = loop.call_later(REQUEST_SECONDS, self.give_up)
        peer = transport.get_extra_info("peername")
        self._waiting_room.enter(self, peer[0] if isinstance(peer, tuple) else "", loop.time())

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._patience is not None and self._request_count:
            self._satisfied()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._satisfied()
        super().connection_lost(exc)

    def _satisfied(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
            self._waiting_room.leave(self)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """What is no HTTP is answered like any mistake; nothing of it is logged or given back: it may hold a token.

        A client that left in the middle of what it sent is no fault of ours either.
        """
        if not isinstance(exc, HttpProcessingError | ConnectionError) or request.writer.output_size > 0:
            return super().handle_error(request, status, exc, message)
        trace_id.set(new_trace_id())
        log.info("no proper HTTP request from %s: %s", request.remote, type(exc).__name__)
        response = error_response(BadParameters("this is no proper HTTP request"))
        response.headers.update(PROTECTIVE_HEADERS | {"Cache-Control": "no-store"})
        response.force_close()
        return response

    def give_up(self) -> None:
        """No request came."""
        self._satisfied()
        transport = self.transport
        if transport is not None:
            transport.abort()


class Places:
    """Places for sockets that have yet to say who they are. Whoever finds none waits a moment for one."""

    def __init__(self, *, total: int = PLACES, per_address: int = PLACES_PER_ADDRESS) -> None:
        self._total = total
        self._per_address = per_address
        self._taken: Counter[str] = Counter()
        self._queue: deque[tuple[str, asyncio.Future[None]]] = deque()

    def _free(self, address: str) -> bool:
        return self._taken[address] < self._per_address and self._taken.total() < self._total

    async def take(self, address: str) -> "Place":
        """A place. Raises RateLimited or Overloaded where none gets free soon."""
        if self._free(address):
            self._taken[address] += 1
            return Place(self, address)
        if len(self._queue) >= QUEUE:
            raise Overloaded("too many connections have not authenticated", retry_after_ms=2000)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((address, turn))
        try:
            async with asyncio.timeout(QUEUE_SECONDS):
                await turn
        except TimeoutError:
            self._withdraw(address, turn)
            raise RateLimited("too many connections have not authenticated", retry_after_ms=10_000) from None
        except asyncio.CancelledError:
            self._withdraw(address, turn)
            raise
        return Place(self, address)

    def _withdraw(self, address: str, turn: "asyncio.Future[None]") -> None:
        if (address, turn) in self._queue:
            self._queue.remove((address, turn))
        elif turn.done() and not turn.cancelled():
            self.give_back(address)

    def give_back(self, address: str) -> None:
        """A place of this address is free; the first in the queue who may have one gets it."""
        self._taken[address] -= 1
        if not self._taken[address]:
            del self._taken[address]
        for waiting in list(self._queue):
            if self._free(waiting[0]) and not waiting[1].done():  # one that gave up takes itself off the queue
                self._queue.remove(waiting)
                self._taken[waiting[0]] += 1
                waiting[1].set_result(None)


class Place:
    """One taken place; given back once, by leaving or by authenticating."""

    def __init__(self, places: Places, address: str) -> None:
        self._places = places
        self._address: str | None = address

    def leave(self) -> None:
        """Give it back."""
        if self._address is not None:
            address, self._address = self._address, None
            self._places.give_back(address)

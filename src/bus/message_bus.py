"""The message bus: its three ports, and the bounded in-memory implementation.

* `Inbound` carries messages to the acceptor that owns the session and resolves
  when the message is durable. The bus owns order, bounds and back-pressure; the
  acceptor owns durability and deduplication.
* `Events` carries events to whoever listens. Publishing never waits: a listener
  that can't keep up loses or closes only itself, by the policy that it named.
* `Requests` carries questions to the instance that owns a session or a bridge.

`tests/contracts/bus_contract.py` is the one suite that every implementation passes.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from enum import Enum
from typing import Any, Protocol, TypeAlias

from bus.errors import Conflict, Overloaded, TimedOut, Unreachable
from bus.events import Accepted, ChatDelta, Event, InboundMessage

Acceptor: TypeAlias = Callable[[InboundMessage], Awaitable[Accepted]]
Sink: TypeAlias = Callable[[Event], None]
Handler: TypeAlias = Callable[[Any], Awaitable[Any]]
Selector: TypeAlias = Callable[[Event], bool]


class Overflow(Enum):
    """What a full subscription does. It concerns this subscriber alone."""

    MERGE_DELTAS = "merge_deltas"
    """Neighbouring deltas of one turn become one; still full: the subscription closes."""
    DROP_OLDEST = "drop_oldest"
    """The oldest event goes; `dropped` counts them."""
    CLOSE = "close"
    """The subscription ends with Overloaded."""


class Subscription(Protocol):
    """A bounded stream of events for one subscriber, closed by `close` or by its policy."""

    name: str
    dropped: int

    def __aiter__(self) -> AsyncIterator[Event]: ...

    def close(self) -> None: ...


class Inbound(Protocol):
    """Messages on their way to the agent."""

    async def submit(self, message: InboundMessage) -> Accepted:
        """Hand over `message`; returns when it is durable.

        Raises Overloaded (1007, with `retry_after_ms`) where too many wait, or no
        acceptor answers in time: the sender repeats with the same idempotency key.
        """
        ...

    def accept_with(self, acceptor: Acceptor) -> Callable[[], None]:
        """Make `acceptor` the owner of what comes in; the result takes it away again."""
        ...


class Events(Protocol):
    """Events on their way out."""

    def publish(self, event: Event) -> None:
        """Give `event` to everyone who listens, in order. Never waits, never raises."""
        ...

    def attach(self, sink: Sink, *, deltas: bool = True) -> Callable[[], None]:
        """Call `sink` for each event, at once, in this task. It must neither block nor raise.

        Without `deltas` it is not called for `ChatDelta`, of which there are many.
        """
        ...

    def subscribe(self, name: str, selector: Selector, policy: Overflow, capacity: int = 1000) -> Subscription:
        """A queue of `capacity` events for a subscriber with a pace of its own."""
        ...


class Requests(Protocol):
    """Questions to whoever serves a subject."""

    async def request(self, subject: str, payload: Any, *, seconds: float) -> Any:
        """Ask and wait. Raises Unreachable where nobody serves `subject`, TimedOut after `seconds`."""
        ...

    def serve(self, subject: str, handler: Handler) -> Callable[[], None]:
        """Answer `subject` from now on. Raises Conflict where somebody does already."""
        ...


class MessageBus(Inbound, Events, Requests, Protocol):
    """All three ports together."""

    async def run(self) -> None:
        """Serve until cancelled."""
        ...


class _Queue:
    """One subscriber's bounded queue."""

    def __init__(self, name: str, selector: Selector, policy: Overflow, capacity: int, leave: Callable[[], None]):
        self.name = name
        self.selector = selector
        self.dropped = 0
        self._policy = policy
        self._capacity = capacity
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._closed = False
        self._overflowed = False
        self._leave = leave

    def put(self, event: Event) -> None:
        if len(self._events) >= self._capacity and not self._make_room(event):
            return
        self._events.append(event)
        self._wake.set()

    def _make_room(self, event: Event) -> bool:
        if self._policy is Overflow.DROP_OLDEST:
            self._events.popleft()
            self.dropped += 1
            return True
        if self._policy is Overflow.MERGE_DELTAS:
            before = len(self._events)
            self._events = merge_deltas(self._events)
            if len(self._events) < before:
                return True
            last = self._events[-1]
            if isinstance(last, ChatDelta) and isinstance(event, ChatDelta) and joinable(last, event):
                self._events[-1] = join(last, event)
                return False
        self._overflowed = True
        self.close()
        return False

    def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._leave()
            self._wake.set()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            while self._events:
                yield self._events.popleft()
            if self._closed:
                if self._overflowed:
                    raise Overloaded(f"{self.name} could not keep up", retry_after_ms=1000)
                return
            self._wake.clear()
            await self._wake.wait()


def joinable(first: ChatDelta, second: ChatDelta) -> bool:
    """Whether two deltas are neighbours of one turn."""
    return (
        first.message_id == second.message_id
        and first.session == second.session
        and first.seq + 1 == (second.seq if second.from_seq is None else second.from_seq)
    )


def join(first: ChatDelta, second: ChatDelta) -> ChatDelta:
    """One delta for two neighbours."""
    start = first.from_seq if first.from_seq is not None else first.seq
    return ChatDelta(first.session, first.message_id, second.seq, first.delta + second.delta, start)


def merge_deltas(events: deque[Event]) -> deque[Event]:
    """The same events with runs of neighbouring deltas joined; nothing else changes, nor the order."""
    merged: deque[Event] = deque()
    for event in events:
        if merged and isinstance(event, ChatDelta):
            last = merged[-1]
            if isinstance(last, ChatDelta) and joinable(last, event):
                merged[-1] = join(last, event)
                continue
        merged.append(event)
    return merged


class MemoryBus:
    """The bus inside one process.

    `capacity` bounds how many messages may wait to become durable at once.
    """

    def __init__(self, *, capacity: int = 1024) -> None:
        self._capacity = capacity
        self._waiting = 0
        self._acceptor: Acceptor | None = None
        self._sinks: tuple[Sink, ...] = ()
        self._delta_sinks: tuple[Sink, ...] = ()
        self._queues: tuple[_Queue, ...] = ()
        self._handlers: dict[str, Handler] = {}

    async def run(self) -> None:
        """Nothing to do in memory: lives until cancelled, like every service."""
        await asyncio.Event().wait()

    @property
    def waiting(self) -> int:
        """How many messages wait for the acceptor right now."""
        return self._waiting

    async def submit(self, message: InboundMessage) -> Accepted:
        if self._acceptor is None:
            raise Overloaded("the assistant is starting or stopping", retry_after_ms=1000)
        if self._waiting >= self._capacity:
            raise Overloaded("too many messages are waiting", retry_after_ms=500)
        self._waiting += 1
        try:
            return await self._acceptor(message)
        finally:
            self._waiting -= 1

    def accept_with(self, acceptor: Acceptor) -> Callable[[], None]:
        if self._acceptor is not None:
            raise Conflict("this bus has an acceptor already")
        self._acceptor = acceptor

        def leave() -> None:
            self._acceptor = None

        return leave

    def publish(self, event: Event) -> None:
        for sink in self._delta_sinks if type(event) is ChatDelta else self._sinks:
            sink(event)
        for queue in self._queues:
            if queue.selector(event):
                queue.put(event)

    def attach(self, sink: Sink, *, deltas: bool = True) -> Callable[[], None]:
        self._sinks = (*self._sinks, sink)
        if deltas:
            self._delta_sinks = (*self._delta_sinks, sink)

        def leave() -> None:
            self._sinks = tuple(s for s in self._sinks if s is not sink)
            self._delta_sinks = tuple(s for s in self._delta_sinks if s is not sink)

        return leave

    def subscribe(self, name: str, selector: Selector, policy: Overflow, capacity: int = 1000) -> Subscription:
        def leave() -> None:
            self._queues = tuple(q for q in self._queues if q is not queue)

        queue = _Queue(name, selector, policy, capacity, leave)
        self._queues = (*self._queues, queue)
        return queue

    async def request(self, subject: str, payload: Any, *, seconds: float) -> Any:
        handler = self._handlers.get(subject)
        if handler is None:
            raise Unreachable(f"nobody serves {subject}")
        try:
            async with asyncio.timeout(seconds):
                return await handler(payload)
        except TimeoutError as error:
            raise TimedOut(f"{subject} did not answer in time") from error

    def serve(self, subject: str, handler: Handler) -> Callable[[], None]:
        if subject in self._handlers:
            raise Conflict(f"{subject} is served already")
        self._handlers[subject] = handler

        def leave() -> None:
            if self._handlers.get(subject) is handler:
                del self._handlers[subject]

        return leave

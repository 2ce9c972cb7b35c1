"""Requests to one MCP server: a place for each, the server's own time limit, and what to do where it dies in them.

`owner.py` keeps the server alive, `standing.py` says where it stands and lends its session. A request is a task's
(`request`), or, where it needs to wait for nothing, a message and a callback (`lane`): most calls of a busy bridge
are, and a task for each would cost more than all the rest of it.
"""

import time
from collections.abc import Callable
from typing import Literal, TypeAlias

from bridge.errors import McpError, OutcomeUnknown, ServerDown, TimedOut, ToolResultInvalid
from bridge.servers.calls import Call, Clock, OnProgress, OnQuestion
from bridge.servers.jsonrpc import JsonObject, Reply
from bridge.servers.link import LinkLost, Post
from bridge.servers.results import check_result
from bridge.servers.session import Session
from bridge.servers.slots import Slots
from bridge.servers.standing import Standing
from bridge.settings import McpServerSettings

Outcome: TypeAlias = Reply | McpError | OutcomeUnknown | ToolResultInvalid
"""Of a posted request. OutcomeUnknown: the server died in it."""
Finished: TypeAlias = Callable[[Outcome], None]


class Requests:
    """Of one server. `served`: it has answered since it was started; `used`: when, monotonic."""

    def __init__(self, standing: Standing, settings: Callable[[], McpServerSettings]) -> None:
        self.in_flight = 0
        self.served = False
        self.used = 0.0
        self._standing = standing
        self._settings = settings
        self._slots = Slots(settings().max_in_flight)

    async def request(
        self, method: str, params: JsonObject, *, timeout: float | None = None, on_progress: OnProgress | None = None,
        on_question: OnQuestion | None = None, on_wait: Callable[[str], None] | None = None, repeatable: bool = False,
        scope: str = "",
    ) -> Reply:  # fmt: skip
        """Send one request to the server, starting it where it sleeps.

        `timeout` is in seconds, at most the server's own; it stands still while a person is asked. `on_wait` is told
        `starting` or `queued`. A `repeatable` request is sent again where the server died in it.
        Cancelling the task cancels the call. Raises McpError (the server's answer), ServerDown (2008, not started),
        TimedOut (1004), OutcomeUnknown (2006), ToolResultInvalid (2005), ValueError (arguments that aren't JSON).
        """
        settings, standing = self._settings(), self._standing
        seconds = settings.timeout if timeout is None else min(timeout, settings.timeout)
        sent = False
        try:
            async with Clock(seconds) as clock:
                call = Call(clock, on_progress, on_question, scope)
                if not self._slots.free and on_wait is not None:
                    on_wait("queued")
                await self._slots.take()
                try:
                    while True:
                        session = standing.serving or await standing.ready(on_wait)
                        try:
                            return await self._once(session, method, params, call)
                        except OutcomeUnknown:
                            sent = True
                            if not repeatable:
                                raise
                        except ServerDown:
                            call.sent = False  # it was surely not seen: the next start may have it
                        await standing.gone(session)
                finally:
                    self._slots.give()
        except TimeoutError:
            effect: Literal["none", "unknown"] = "unknown" if sent or call.sent else "none"
            raise TimedOut(f"{settings.name} did not answer within {round(seconds, 1):g} s", effect=effect) from None
        except ServerDown as error:
            if not sent:
                raise
            raise OutcomeUnknown(error.message, effect="unknown") from None

    async def _once(self, session: Session, method: str, params: JsonObject, call: Call) -> Reply:
        self.in_flight += 1
        served = False
        try:
            reply = await session.request(method, params, call)
            served = True
            return reply
        finally:
            self._returned(served)

    def _returned(self, served: bool) -> None:
        self.in_flight -= 1
        self.served = self.served or served
        self.used = time.monotonic()

    # ------------------------------------------------------------ without a task

    def lane(self) -> "Lane | None":
        """For a request that needs to wait for nothing: not for the server, nor for a place, nor for its pipe."""
        session = self._standing.serving if self._slots.free else None
        send = None if session is None else session.quick()
        return None if session is None or send is None else Lane(self, session, send, self._settings().timeout)

    def enter(self) -> None:
        """A posted request is on its way."""
        self._slots.take_free()
        self.in_flight += 1

    def leave(self, served: bool) -> None:
        """It has ended."""
        self._slots.give()
        self._returned(served)


class Lane:
    """A way to a server that is free now: for one request, before anything is awaited. `timeout` is the server's."""

    __slots__ = ("_requests", "_send", "_session", "timeout")

    def __init__(self, requests: Requests, session: Session, send: Post, timeout: float) -> None:
        self.timeout = timeout
        self._requests = requests
        self._session = session
        self._send = send

    def post(self, method: str, params: JsonObject, call: Call, finished: Finished) -> "Posted":
        """Send it; `finished` is called once, unless it is abandoned before. Raises ValueError (not JSON)."""
        posted = Posted(self._requests, self._session, method, finished)
        posted.number = self._session.post(self._send, method, params, call, posted.settle)
        self._requests.enter()
        return posted


class Posted:
    """A request that is on its way."""

    __slots__ = ("_finished", "_method", "_requests", "_session", "number")

    def __init__(self, requests: Requests, session: Session, method: str, finished: Finished) -> None:
        self.number = 0
        self._requests = requests
        self._session = session
        self._method = method
        self._finished = finished

    def settle(self, outcome: Reply | Exception) -> None:
        """The session says what came of it."""
        if isinstance(outcome, Reply):
            self._requests.leave(True)
            try:
                if not outcome.unread:  # the gateway reads it, and looks then
                    check_result(self._method, outcome.value)
            except ToolResultInvalid as error:
                self._finished(error)
            else:
                self._finished(outcome)
            return
        self._requests.leave(False)
        if isinstance(outcome, LinkLost):
            died = f"{self._session.name} died during the call: {outcome.reason}"
            self._finished(OutcomeUnknown(died, effect="unknown"))
        elif isinstance(outcome, McpError | ToolResultInvalid):
            self._finished(outcome)
        else:
            raise TypeError(f"no outcome of a request: {outcome!r}")

    def abandon(self) -> None:
        """Nobody wants the answer any more."""
        self._session.abandon(self.number)
        self._requests.leave(False)

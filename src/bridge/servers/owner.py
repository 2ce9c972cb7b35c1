"""One MCP server's life: the task that starts it, notices its death, starts it again, or gives it up.

Above `session.py` and the links; the aggregator (and the gateway's cloud servers) hold one owner per configured
server. Only the owner's own task opens and closes the link; everybody else awaits calls. A server's crash, hang or
noise concerns that server alone.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from bridge.errors import BridgeError, McpError, ServerDown, TimedOut
from bridge.servers.definitions import ToolDefinition, one_line
from bridge.servers.groups import ProcessGroups
from bridge.servers.link import Link, LinkLost
from bridge.servers.offers import EVERYTHING, Offers
from bridge.servers.opening import Authorise, open_link, reason_of
from bridge.servers.pace import GIVEN_UP_DELAY, UNREACHABLE_DELAY, Pace
from bridge.servers.requests import Requests
from bridge.servers.session import Session
from bridge.servers.standing import Standing, State
from bridge.settings import McpServerSettings

POLL_SECONDS = 300.0
_START_SECONDS = 60.0
_LOOK_SECONDS = 0.25
"""Between two looks: a server that says all the time that it changed neither fills the tunnel nor wears us out."""


class ServerOwner:
    """Owns one server. `run()` lives until cancelled; `changed()` is called after any change worth showing.

    `offers` keeps what was seen last while the server is stopped or starts again.
    """

    def __init__(
        self, settings: McpServerSettings, groups: ProcessGroups, *, changed: Callable[[], None] = lambda: None,
        poll_seconds: float = POLL_SECONDS, pace: Pace | None = None, authorise: Authorise | None = None,
    ) -> None:  # fmt: skip
        self.settings = settings
        self.name = settings.name
        self.offers = Offers()
        self._standing = Standing(settings.name, "stopped" if settings.lazy else "starting", changed)
        self.restarts = 0
        self.pid: int | None = None
        self._groups = groups
        self._authorise = authorise
        self._poll_seconds = poll_seconds
        self._pace = pace or Pace(given_up_delay=GIVEN_UP_DELAY if settings.kind == "stdio" else UNREACHABLE_DELAY)
        self.requests = Requests(self._standing, lambda: self.settings)
        self.request = self.requests.request
        self._again = False
        self._learning = False
        self._stale: set[str] = set()
        self._wake = asyncio.Event()
        self._log = logging.getLogger(f"bridge.server.{settings.name}")

    @property
    def state(self) -> State:
        return self._standing.state

    @property
    def error(self) -> str | None:
        """Why it is not ready, or was not when it was started last."""
        return self._standing.error

    @property
    def tools(self) -> list[ToolDefinition]:
        """What the server offers, or offered when it ran last."""
        return self.offers.tools

    # ------------------------------------------------------------ from outside

    def restart(self) -> None:
        """Stop the server and start it again, also where it was given up."""
        self._again = True
        self._standing.wanted.set()
        self._wake.set()

    def hold(self, reason: str) -> None:
        """Not to be reached for now, and why. `run()` begins anew."""
        self._standing.turn("failed", reason)

    def learn(self) -> None:
        """Start a lazy server once to see what it offers, and let it sleep again."""
        if self.state == "stopped":
            self._learning = True
            self._standing.turn("starting", None)
            self._standing.wanted.set()

    def refresh(self) -> None:
        """Look at the server's listings again."""
        self._stale |= EVERYTHING
        self._wake.set()

    async def settled(self, *, first: bool = False) -> None:
        """Wait until the server is no longer starting: ready, stopped or failed.

        With `first` only for the outcome of the first start, not for those after it.
        """
        await self._standing.settled(first=first)

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Keep the server alive until cancelled."""
        try:
            while True:
                if self.settings.lazy and (self.state == "stopped" or self._learning):
                    await self._standing.wanted.wait()
                await self._live_once()
        finally:
            self._standing.turn("stopped", None)

    async def _live_once(self) -> None:
        """One start and its end, then the wait before the next."""
        self._standing.wanted.clear()
        self._again = False
        if self.state != "failed":
            self._standing.turn("starting", self.error)
        self.requests.served = False
        began = asyncio.get_running_loop().time()
        quiet = False
        hopeless = False
        try:
            quiet = await self._serve()
            reason = ""
        except asyncio.CancelledError:
            reason = "the connection was cancelled from within"  # a library's scope leaked, or we are told to stop
        except Exception as error:  # a server may break in any way; the reason is shown, and only it ends
            reason, hopeless = reason_of(error)
        task = asyncio.current_task()
        if reason and task is not None and task.cancelling():
            raise asyncio.CancelledError(reason)  # we are told to stop, whatever else went wrong at the server's end
        if quiet:
            self._standing.turn("stopped", None)
            await self._standing.wanted.wait()
        elif not self._again:
            await self._recover(reason, asyncio.get_running_loop().time() - began, hopeless)

    async def _recover(self, reason: str, lived: float, hopeless: bool) -> None:
        self.restarts += 1
        delay, given_up = self._pace.ended(lived, useful=self.requests.served, hopeless=hopeless)
        self._log.warning("%s; %s", reason, "given up" if given_up else f"starting again in {delay:.1f} s")
        self._standing.turn("failed" if given_up else "starting", reason)
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                while not self._again:
                    await self._wake.wait()
                    self._wake.clear()
        if self._again:
            self._pace.reset()
            self._standing.turn("starting", reason)

    async def _serve(self) -> bool:
        """Start, serve until the end. True where it was put to sleep because nobody called."""
        session = Session(self.name, self._note_change)
        link: Link | None = None
        try:
            try:
                async with asyncio.timeout(min(self.settings.timeout, _START_SECONDS)):
                    link = await open_link(self.settings, session.receive, session.end, self._groups, self._authorise)
                    self.pid = getattr(link, "pid", None)
                    await session.start(link, self.settings.protocol)
                    self._stale.clear()
                    await self.offers.look(session, EVERYTHING, self._log)
            except TimeoutError:
                limit = min(self.settings.timeout, _START_SECONDS)
                raise TimedOut(f"no answer to the handshake within {limit:g} s") from None
            except LinkLost as lost:
                raise ServerDown(session.reason or lost.reason) from None
            self.requests.served = False
            self.requests.used = asyncio.get_running_loop().time()
            self._standing.session = session
            self._standing.turn("ready", None)
            learnt, self._learning = self._learning, False
            if learnt and not self._standing.waiters:
                return True
            return await self._watch(session)
        finally:
            self._standing.session = None
            self.pid = None
            if self.state == "ready":
                self._standing.turn("starting", session.reason or None)
            session.end(session.reason or "stopped")
            try:
                if link is not None:
                    await link.close()
            finally:
                await session.close()

    async def _watch(self, session: Session) -> bool:
        """Until the server dies (raises ServerDown), is put to sleep (True), or is to start again (False)."""
        loop = asyncio.get_running_loop()
        polled = loop.time()
        looked = 0.0
        lost = loop.create_task(session.lost.wait())
        lost.add_done_callback(lambda _: self._wake.set())
        try:
            while not self._again:
                self._wake.clear()
                if session.lost.is_set():
                    raise ServerDown(session.reason)
                now = loop.time()
                if now - polled >= self._poll_seconds:
                    self.refresh()
                if self._stale and now - looked >= _LOOK_SECONDS:
                    polled = looked = now
                    await self._look_again(session)
                    continue
                idle = self._idle_in(now)
                if idle <= 0:
                    return True
                due = looked + _LOOK_SECONDS if self._stale else polled + self._poll_seconds
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(due - now, idle)):
                        await self._wake.wait()
            return False
        finally:
            lost.cancel()

    def _idle_in(self, now: float) -> float:
        """Seconds until this server has been unused for long enough to stop."""
        if self.settings.idle_stop is None:
            return float("inf")
        if self.requests.in_flight:
            return max(self.settings.idle_stop, 0.01)
        return self.requests.used + self.settings.idle_stop - now

    async def _look_again(self, session: Session) -> None:
        stale, self._stale = self._stale, set()
        try:
            async with asyncio.timeout(min(self.settings.timeout, _START_SECONDS)):
                await self.offers.look(session, stale, self._log)
        except TimeoutError:
            self._log.warning("listing what the server offers took too long; the last listing stays")
        except (BridgeError, McpError) as error:
            self._log.warning("listing what the server offers failed: %s", one_line(error.message))
        except LinkLost:
            return
        self._standing.changed()

    def _note_change(self, what: str) -> None:
        if what not in self._stale:
            self._stale.add(what)
            self._wake.set()

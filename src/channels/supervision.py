"""Keeps one channel alive: makes it, runs it, says how it is, and begins again after a failure.

The channel is made anew each time. A refused token is tried again after 15 s,
doubling to 5 minutes, everything else after 1 s, doubling to a minute. Nothing
that a platform's SDK raises gets further than this. Above is `host.py`.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

from bus.commands import COMMANDS
from channels.base import BaseChannel, ChannelState, StateName
from channels.errors import ChannelAuthFailed, ChannelError
from channels.tasks import Tasks

log = logging.getLogger(__name__)
AUTH_SECONDS = (15.0, 300.0)
RETRY_SECONDS = (1.0, 60.0)
STEADY_SECONDS = 60.0
STOP_SECONDS = 5.0


class Supervisor:
    """One channel's keeper.

    `load` imports the platform's SDK, in a thread, so that the house goes on meanwhile; `make` gives a new channel;
    `prepare` is awaited before it starts; `ready` is called whenever what waits may go out.
    """

    def __init__(
        self,
        name: str,
        *,
        load: Callable[[], object],
        make: Callable[[], BaseChannel],
        prepare: Callable[[BaseChannel], Awaitable[None]],
        ready: Callable[[], None],
    ) -> None:
        self._name = name
        self._load = load
        self._make = make
        self._prepare = prepare
        self._ready = ready
        self._tasks = Tasks(f"channel {name} menu")
        self._unmade = ChannelState()
        self._open = False
        self._paused = False
        self.made: BaseChannel | None = None
        """The newest channel, whether it is open or not."""
        self.retry_seconds = RETRY_SECONDS
        self.auth_seconds = AUTH_SECONDS

    @property
    def state(self) -> ChannelState:
        """How the channel is."""
        return self.made.state if self.made is not None else self._unmade

    @property
    def channel(self) -> BaseChannel | None:
        """The channel while it is open."""
        return self.made if self._open else None

    async def pause(self) -> None:
        """Take nothing in any more; sending goes on."""
        self._paused = True
        if self.made is None or not self._open:
            return
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self.made.pause()
        except Exception as error:  # the house stops: one channel must not keep the turns of all others from ending
            log.warning("%s did not pause: %s", self._name, type(error).__name__)

    async def run(self) -> None:
        """Serve until cancelled; may be run again."""
        self._tasks.open()
        try:
            await self._again_and_again()
        finally:
            await self._tasks.close()

    async def _again_and_again(self) -> None:
        auth, retry = self.auth_seconds[0], self.retry_seconds[0]
        while True:
            began = time.monotonic()
            error = await self._once()
            if time.monotonic() - began > STEADY_SECONDS:
                auth, retry = self.auth_seconds[0], self.retry_seconds[0]
            reason = error.reason if isinstance(error, ChannelError) else type(error).__name__
            if isinstance(error, ChannelAuthFailed):
                delay, auth = auth, min(2 * auth, self.auth_seconds[1])
                self._mark("failed", reason)
            else:
                delay, retry = retry * random.uniform(0.5, 1.0), min(2 * retry, self.retry_seconds[1])
                self._mark("degraded", reason)
            log.warning("%s: %s; again in %.0f s", self._name, reason, delay)
            await asyncio.sleep(delay)

    async def _once(self) -> Exception:
        """One life of a channel, and why it ended."""
        try:
            await self._live()
        except ChannelError as error:
            return error
        except Exception as error:  # whatever a platform's SDK raises concerns this channel alone
            log.error("%s failed", self._name, exc_info=error)
            return error
        return ChannelError("the channel ended by itself")

    async def _live(self) -> None:
        if self.state.state == "off":
            self._mark("starting")
        await asyncio.to_thread(self._load)
        channel = self._make()
        channel.state, channel.on_ready = self.state, self._ready
        self.made = channel
        try:
            await self._prepare(channel)
            await channel.start()
            self._open = True
            self._ready()
            menu = self._tasks.spawn(self._menu(channel))
            try:
                if self._paused:
                    await asyncio.Event().wait()
                await channel.run()
            finally:
                menu.cancel()
        finally:
            self._open = False
            await self._close(channel)

    async def _close(self, channel: BaseChannel) -> None:
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await channel.stop()
        except Exception as error:  # of the SDK: what fails in closing must not hide why the channel ended
            log.warning("%s did not close cleanly: %s", self._name, type(error).__name__)

    async def _menu(self, channel: BaseChannel) -> None:
        try:
            await channel.set_commands(COMMANDS)
        except ChannelError as error:
            log.info("%s: the command menu was not set: %s", self._name, error.reason)

    def _mark(self, state: StateName, reason: str = "") -> None:
        if self.made is None:
            self._unmade = ChannelState(state, reason)
        else:
            self.made.mark(state, reason)

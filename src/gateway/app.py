"""The life of the process: open, serve, drain, close. The one composition root stands on `composition.py`.

Services live in one task group until they are cancelled. A stop has two phases: the edges take nothing
more in while turns finish and replies leave, within `limits.drain_seconds`; then sockets are closed
(1012) and everything is cancelled. What was cut is durable and goes on after the next start.
"""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from agent.sessions.lock import FolderInUse
from bus.errors import BadParameters, GatewayError
from bus.events import JsonObject
from channels.websocket import WebSocketChannel
from gateway import state_files
from gateway.auth import Principal
from gateway.composition import Gateway, compose, start_code
from gateway.descriptors import make_room
from gateway.handlers.call import Call
from gateway.identity.document import CorruptDocument
from gateway.identity.logins import START_SECONDS
from gateway.identity.roles import SCOPES
from gateway.keeping import keep, once
from gateway.network import web_url
from gateway.protocol import RpcError
from gateway.reloading import follow
from gateway.routes import make_listener
from gateway.server import Listener, UnusableTls
from gateway.settings import Loaded

log = logging.getLogger("gateway.app")

SWEEP_SECONDS = 3600.0
HURRY_SECONDS = 1.5
PAUSE_SECONDS = 0.5
SWITCH_SECONDS = 50e-6
"""How long a thread that has something to do waits for the interpreter. The threads here sync journals and read files:
a few microseconds of Python around a long wait, for which an acknowledgement would otherwise be kept back until the
event loop happens to sleep (Python's own value is 5 ms)."""
Say = Callable[[str], None]
Complain = Callable[[str, Exception], None]


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


class Stop:
    """Signals: the first asks for a clean stop, the second for a quick one."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def signal(self) -> None:
        """One more signal."""
        if self.asked.is_set():
            self.hurry.set()
            asyncio.get_running_loop().call_later(HURRY_SECONDS, os._exit, 0)
        self.asked.set()

    def listen(self) -> None:
        """From now on SIGTERM, SIGINT and SIGHUP come here."""
        loop = asyncio.get_running_loop()
        for name in ("SIGTERM", "SIGINT", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is None:
                continue
            try:
                loop.add_signal_handler(number, self.signal)
            except NotImplementedError:  # Windows: the loop is told from the handler
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.signal))
            except (RuntimeError, ValueError):
                continue  # not the main thread


def _complain(problem: str, _error: Exception) -> None:
    sys.stderr.write(f"gateway: {problem}\n")


async def serve(loaded: Loaded, say: Say = _print, stop: Stop | None = None, complain: Complain = _complain) -> int:
    """Serve until a signal; the exit code. `say` is given the lines that people read at the start.

    `complain` is told why nothing could be started.
    """
    begun = time.monotonic() - _age()
    stop = stop or Stop()
    stop.listen()
    make_room(loaded.settings.server.max_connections)
    sys.setswitchinterval(SWITCH_SECONDS)
    async with AsyncExitStack() as stack:
        try:
            if loaded.settings.tracing is not None:
                from gateway.observability.tracing import Tracing

                stack.enter_context(Tracing(loaded.settings.tracing.endpoint, loaded.settings.tracing.service))
            gateway = await compose(loaded, stack)
            gateway.admin.ensure(time.time())
            listener = make_listener(gateway)
            await listener.open()
        except (FolderInUse, CorruptDocument, GatewayError) as error:
            complain(str(error), error)
            return 1
        except OSError as error:
            complain(_why(error, loaded), error)
            return 2 if isinstance(error, UnusableTls) else 1
        stack.push_async_callback(listener.close, seconds=0.5)
        await _live(gateway, listener, stop, say, begun)
    return 0


def spare_the_collector() -> None:
    """What exists now stays; and a delta should not pay for looking through the young objects so often."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def _live(gateway: Gateway, listener: Listener, stop: Stop, say: Say, begun: float) -> None:
    home = gateway.loaded.home
    gateway.phase.url = web_url(gateway.loaded.settings.server, listener.port)
    async with asyncio.TaskGroup() as group:
        gateway.bus.attach(gateway.observe, deltas=False)  # for as long as there is a bus
        # The log and what stands on it end with their faults, and the house with them; the others begin again.
        services = [
            group.create_task(gateway.bus.run(), name="bus"),
            group.create_task(WebSocketChannel(gateway.bus, gateway.hub).run(), name="clients"),
            group.create_task(gateway.loop.run(), name="loop"),
        ]
        services += [group.create_task(keep(name, run), name=name) for name, run in kept_services(gateway).items()]
        services.append(group.create_task(keep("certificate", listener.renew), name="certificate"))
        await gateway.loop.accepting.wait()
        state_files.announce(home, listener.url)
        gateway.phase.ready = True
        spare_the_collector()
        _greet(gateway, listener, say, time.monotonic() - begun)
        services.append(group.create_task(once("making the models ready", gateway.model.warm), name="warm"))
        if gateway.loaded.settings.models:  # `demo` calls tools when it is told to, and is light
            warm = gateway.toolbox.builtins.warm
            services.append(group.create_task(once("making the tools ready", warm), name="warm tools"))
        try:
            await stop.asked.wait()
            await _drain(gateway, listener, stop)
        finally:
            state_files.withdraw(home)
            for service in services:
                service.cancel()


def kept_services(gateway: Gateway) -> dict[str, Callable[[], Awaitable[None]]]:
    """Those that begin again where they break; each can be run any number of times."""
    return {
        "hub": gateway.hub.run, "sockets": gateway.sockets.run, "channels": gateway.channels.run,
        "care": lambda: _care(gateway), "cloud tools": gateway.toolbox.cloud.run,
        "bridges": gateway.toolbox.directory.run, "schedules": gateway.schedules.run,
        "agents": lambda: follow(gateway.loaded, gateway.agents),
    }  # fmt: skip


async def _drain(gateway: Gateway, listener: Listener, stop: Stop) -> None:
    """The first phase of the stop, and the goodbye to every socket."""
    gateway.phase.ready = False
    hurry = asyncio.ensure_future(stop.hurry.wait())
    work = asyncio.ensure_future(_finish_work(gateway))
    try:
        await asyncio.wait([work, hurry], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        else:
            await _pause_turns(gateway, work)
        gateway.toolbox.directory.leave()
        await listener.close(seconds=0.2 if hurry.done() else 2.0)
    finally:
        for task in (work, hurry):
            task.cancel()
        await asyncio.gather(work, hurry, return_exceptions=True)


async def _pause_turns(gateway: Gateway, work: "asyncio.Future[None]") -> None:
    """The second signal came: what runs is cut now, and recorded as cut by a stop. That uses up no attempt."""
    work.cancel()
    await asyncio.wait([work])
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(PAUSE_SECONDS):
            await gateway.loop.drain(0)


async def _finish_work(gateway: Gateway) -> None:
    seconds = gateway.loaded.settings.limits.drain_seconds
    until = time.monotonic() + seconds
    gateway.toolbox.closing()
    await gateway.channels.pause()
    await gateway.loop.drain(seconds)
    gateway.toolbox.directory.drain()
    await gateway.moves.settle()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(max(0.05, until - time.monotonic())):
            await gateway.channels.drained()


async def _care(gateway: Gateway) -> None:
    """Once an hour: ephemeral sessions with their files, and keyed calls, whose day is over; the oldest accounts."""
    sweeps: dict[str, Callable[[], Awaitable[object]]] = {
        "sessions": gateway.store.sweep, "keyed calls": gateway.toolbox.kept_calls.sweep, "files": gateway.media.sweep,
        "accounts": gateway.accounts.sweep,
    }  # fmt: skip
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        for name, sweep in sweeps.items():
            try:
                await sweep()
            except GatewayError as error:
                log.warning("old %s could not be swept: %s", name, error.message)


def _greet(gateway: Gateway, listener: Listener, say: Say, seconds: float) -> None:
    url = listener.url
    socket = "ws" + url.removeprefix("http")
    code = start_code(gateway, START_SECONDS)
    say(f"ready in {seconds:.2f} s")
    say(f"web      {url}/#login={code}   (once, within 10 minutes)")
    say(f"ws       {socket}/ws")
    say(f"tunnel   {socket}/tunnel")
    say(f"token    {gateway.admin.path}")
    models = ", ".join(str(entry["name"]) for entry in gateway.model.describe())
    say(f"models   {models}")
    for name, state in gateway.channels.states().items():
        say(f"{name:<8} {state['state']}")


def _age() -> float:
    """Seconds since this process began, as far as the system tells."""
    if sys.platform != "linux":
        return 0.0
    try:
        with open("/proc/self/stat", "rb") as file:  # noqa: PTH123 - no path of ours
            ticks = int(file.read().rsplit(b")", 1)[1].split()[19])
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError, AttributeError):
        return 0.0


def _why(error: OSError, loaded: Loaded) -> str:
    server = loaded.settings.server
    said = (error.strerror or "").lower()
    unknown = isinstance(error, socket.gaierror)
    if unknown or (error.errno is not None and "address" in said):
        reason = said if unknown or error.errno is None else os.strerror(error.errno).lower()
        return f"cannot listen on {server.host}:{server.port} (server.host, server.port): {reason}"
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"


# ---------------------------------------------------------------- without a listener

Offline = Callable[[str, JsonObject], Awaitable[Any]]


@asynccontextmanager
async def open_offline(loaded: Loaded) -> AsyncIterator[Offline]:
    """The methods of a stopped gateway, called as its owner. No turn runs, no port is opened.

    Raises FolderInUse where a gateway is running after all, CorruptDocument, OSError; the calls raise GatewayError.
    """
    async with AsyncExitStack() as stack:
        gateway = await compose(loaded, stack)
        owner = Principal("admin", "owner", SCOPES, "")
        methods = gateway.dispatcher.methods

        async def call(method: str, params: JsonObject) -> Any:
            try:
                return await gateway.dispatcher.perform(methods[method], params, Call(principal=owner, channel="cli"))
            except RpcError as error:
                raise BadParameters(error.message) from None

        yield call
        await gateway.moves.settle()

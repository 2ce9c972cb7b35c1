"""The bridge put together: the only place that constructs. Run by `ai-bridge run` and `connect`.

Resources open on an exit stack, services live in one task group: the servers, the tunnel, the watch over the
configuration, the status file. A stop first takes no more calls and lets the running ones finish.
"""

import asyncio
import logging
import platform
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from bridge.aggregator import Aggregator
from bridge.audit import AuditLog
from bridge.audit.trail import AuditTrail
from bridge.calls import Calls, Parts
from bridge.configuration import ConfigurationError
from bridge.confirm import Confirmations
from bridge.database import Database
from bridge.definitions import Definitions
from bridge.editing import write_private
from bridge.ledger import Ledger
from bridge.loading import Loaded, check_link, load
from bridge.pidfile import PidFile
from bridge.protocol.bridge_effects import BridgeIdentity
from bridge.protocol.outbox import Outbox
from bridge.servers.groups import ProcessGroups, sweep
from bridge.servers.memory import Memory
from bridge.settings import BridgeSettings
from bridge.status import remove_status, status_of, write_status
from bridge.tunnel import LinkStatus, Tunnel, TunnelRefused
from bridge.version import VERSION

DRAIN_SECONDS = 10.0
_STATUS_SECONDS = 0.25
_LOOK_SECONDS = 1.0
_GREETING_SECONDS = 1.0
Say = Callable[[str], None]


class Bridge:
    """One running bridge. `run` returns after a clean stop."""

    def __init__(self, loaded: Loaded, say: Say, environ: Mapping[str, str] | None = None) -> None:
        self._loaded = loaded
        self._settings: BridgeSettings = loaded.settings
        self._say = say
        self._environ = environ
        self._stop = asyncio.Event()
        self._news = asyncio.Event()
        self._greeted = asyncio.Event()
        self._shown: dict[str, str] = {}
        self._began = time.monotonic()
        self._link: LinkStatus | None = None
        self._tunnel: Tunnel | None = None
        self._tunnel_task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        """Begin a clean stop; a second call gives up waiting for calls."""
        if self._stop.is_set() and self._tunnel_task is not None:
            self._tunnel_task.cancel()
        self._stop.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises AlreadyRunning, TunnelRefused, NewerDatabase, AuditFailed, OSError."""
        folder = self._loaded.folder
        async with AsyncExitStack() as stack:
            stack.callback(PidFile(folder).close)
            await self._sweep(folder)
            groups = ProcessGroups(folder)
            stack.callback(groups.close)
            database = Database(folder / "ledger.sqlite")
            stack.callback(database.close)
            audit = AuditTrail(AuditLog(folder / "audit.jsonl"))
            stack.callback(audit.close)
            definitions = Definitions(database)
            memory = Memory(folder / "catalogue.json")
            aggregator = Aggregator(
                self._settings.mcp_servers, default=self._settings.policy.default, groups=groups, memory=memory,
                pins=definitions,
            )  # fmt: skip
            definitions.agreed = aggregator.refresh
            outbox, ledger = Outbox(), Ledger(database)
            parts = Parts(
                executor=aggregator, ledger=ledger, confirmations=Confirmations(database, self._policy),
                definitions=definitions, audit=audit, outbox=outbox, policy=self._policy,
            )  # fmt: skip
            calls = Calls(parts)
            identity = BridgeIdentity(
                bridge_id=bridge_id(folder), boot_id=groups.boot_id, name=self._settings.server.name, client=_client()
            )
            audit.note("bridge.started", version=VERSION)
            calls.recover()
            stack.callback(remove_status, folder)
            try:
                await self._serve(aggregator, calls, identity, outbox, ledger)
            finally:
                # also where the gateway refused us: what is gathered is written, and nothing runs on
                await calls.close()
            audit.note("bridge.stopped")

    async def _serve(
        self, aggregator: Aggregator, calls: Calls, identity: BridgeIdentity, outbox: Outbox, ledger: Ledger
    ) -> None:
        loop = asyncio.get_running_loop()
        for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):
            number = getattr(signal, name, None)
            if number is None or (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                continue  # `nohup` means what it says
            try:
                loop.add_signal_handler(number, self.stop)
            except NotImplementedError:  # Windows: the loop is told from the handler
                signal.signal(number, lambda *_: loop.call_soon_threadsafe(self.stop))
            except (RuntimeError, ValueError):
                continue  # not the main thread
        unwatch = aggregator.watch(lambda: self._tell(aggregator))
        refused: list[BaseException] = []
        try:
            async with asyncio.TaskGroup() as group:
                make = self._tunnel_maker(identity, calls, aggregator, outbox)
                services = [
                    group.create_task(self._keep_tunnel(make), name="tunnel"),
                    group.create_task(self._keep_servers(aggregator), name="servers"),
                    group.create_task(self._keep_status(aggregator, calls), name="status"),
                    group.create_task(self._keep_configuration(aggregator), name="configuration"),
                    group.create_task(ledger.keep_tidy(), name="ledger"),
                ]
                await self._stop.wait()
                self._say("stopping")
                if self._tunnel is not None:
                    with suppress(asyncio.CancelledError, ConnectionError):
                        await self._tunnel.leave(DRAIN_SECONDS)
                for service in services:
                    service.cancel()
        except* TunnelRefused as several:  # what is raised in here is a group again before Python 3.11.4
            refused += several.exceptions
        finally:
            unwatch()
        if refused:
            raise refused[0]

    async def _keep_servers(self, aggregator: Aggregator) -> None:
        """First the greeting at the gateway, which is quick, then the servers, side by side."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_GREETING_SECONDS):
                await self._greeted.wait()
        await aggregator.run()

    def _policy(self) -> Any:
        return self._settings.policy

    async def _sweep(self, folder: Path) -> None:
        for left in await asyncio.to_thread(sweep, folder):
            fate = "ended" if left.ended else "could not be ended"
            self._say(f"left behind by an earlier run: {left.name} ({left.pid}) of {left.server}, {fate}")

    # ------------------------------------------------------------ the tunnel

    def _tunnel_maker(
        self, identity: BridgeIdentity, calls: Calls, aggregator: Aggregator, outbox: Outbox
    ) -> Callable[[], Tunnel]:
        def make() -> Tunnel:
            named = replace(identity, name=self._settings.server.name)
            return Tunnel(self._settings.server, named, calls, aggregator, outbox, changed=self._link_changed)

        return make

    async def _keep_tunnel(self, make: Callable[[], Tunnel]) -> None:
        """One tunnel at a time; a new address or name in the configuration begins another."""
        while True:
            self._tunnel = make()
            self._tunnel_task = asyncio.get_running_loop().create_task(self._tunnel.run(), name="link")
            try:
                await asyncio.wait([self._tunnel_task])
                if not self._tunnel_task.cancelled():
                    self._tunnel_task.result()
                    return
            finally:
                self._tunnel_task.cancel()
                await asyncio.wait([self._tunnel_task])
            if self._stop.is_set():
                return

    def _link_changed(self, status: LinkStatus) -> None:
        self._link = status
        if status.state != "connecting":
            self._greeted.set()
        self._say(f"gateway: {status.state}{f' ({status.reason})' if status.reason else ''}")
        self._news.set()

    # ------------------------------------------------------------ telling

    def _tell(self, aggregator: Aggregator) -> None:
        """A line for each server whose state changed."""
        for owner in aggregator.owners:
            text = {"ready": f"ready, {len(owner.tools)} tools", "starting": "starting"}.get(owner.state, owner.state)
            if owner.error:
                text += f" ({owner.error})"
            if self._shown.get(owner.name) != text:
                self._shown[owner.name] = text
                self._say(f"{owner.name}: {text} [{time.monotonic() - self._began:.1f} s]")
        self._news.set()

    async def _keep_status(self, aggregator: Aggregator, calls: Calls) -> None:
        while True:
            self._news.clear()
            told = status_of(self._settings, self._link, aggregator, calls)
            with suppress(OSError):
                await asyncio.to_thread(write_status, self._loaded.folder, told)
            await asyncio.sleep(_STATUS_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(15):
                    await self._news.wait()

    # ------------------------------------------------------------ hot reload

    async def _keep_configuration(self, aggregator: Aggregator) -> None:
        """Take every change of the configuration or the secrets; a mistake leaves the last good one in force.

        Looked for once a second: two calls of stat cost less than a library's thread, and see every editor's way.
        """
        files = (self._loaded.path, self._loaded.folder / "secrets.yaml")
        seen = [_stamp(file) for file in files]
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            now = [_stamp(file) for file in files]
            if now == seen:
                continue
            seen = now
            try:
                loaded = load(self._loaded.path, self._environ)
                check_link(loaded)  # a file that is being written is empty for a moment: not a wish to share nothing
            except ConfigurationError as error:
                self._say(f"the changed configuration is not used:\n{error}")
                continue
            self._reload(loaded.settings, aggregator)

    def _reload(self, new: BridgeSettings, aggregator: Aggregator) -> None:
        old, self._settings = self._settings, new
        if new == old:
            return
        touched = aggregator.apply(new.mcp_servers, default=new.policy.default)
        self._say(f"configuration reloaded; {'restarted: ' + ', '.join(touched) if touched else 'no server restarted'}")
        if new.server == old.server or self._tunnel is None:
            return
        if (new.server.url, new.server.name) != (old.server.url, old.server.name):
            if self._tunnel_task is not None and new.server.url and new.server.token:
                self._tunnel_task.cancel()
        elif new.server.token is not None and new.server.token != old.server.token:
            self._tunnel.rotate(new.server.token)


def bridge_id(folder: Path) -> str:
    """This bridge's name for life, made at the first start and kept beside the configuration."""
    path = folder / "bridge_id"
    with suppress(OSError, UnicodeDecodeError):
        known = path.read_text(encoding="ascii").strip()
        if 8 <= len(known) <= 64 and known.isalnum():
            return known
    new = secrets.token_hex(12)
    write_private(path, new + "\n")
    return new


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file, however it was written."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _client() -> dict[str, Any]:
    return {"name": "ai-bridge", "version": VERSION, "os": platform.system().lower() or sys.platform}


def start_logging(verbose: bool) -> None:
    """The log on stderr: warnings, with `verbose` everything; servers' own lines count as information."""
    logging.basicConfig(
        stream=sys.stderr, level=logging.DEBUG if verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S",
    )  # fmt: skip
    for noisy in ("asyncio", "websockets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)

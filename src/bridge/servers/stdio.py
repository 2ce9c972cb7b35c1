"""An MCP server as a child process: newline-delimited JSON over its stdin and stdout.

Our own transport because the SDK's is quadratic in the length of a line, hides the death of the process and
leaves grandchildren behind. Above it `session.py`; `process.py` knows the platform. It refuses to know JSON.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, cast

from bridge.servers import turn
from bridge.servers.containers import Container, container_of
from bridge.servers.groups import ProcessGroups
from bridge.servers.jsonrpc import JsonObject, encode
from bridge.servers.lines import MAX_LINE, LineBuffer, Tail
from bridge.servers.link import Closed, LinkLost, Post, Receive
from bridge.servers.process import (
    TAG,
    child_environment,
    kill_group,
    popen_options,
    resolve_command,
    signal_group,
    strays_of,
    working_folder,
)  # fmt: skip
from bridge.settings import McpServerSettings

_EOF_SECONDS = 1.0
_TERM_SECONDS = 1.0
_LAST_WORDS_SECONDS = 0.05
_STDERR_LINES_PER_SECOND = 50


class _Process(asyncio.SubprocessProtocol):
    """The pipes' callbacks. `link` is set before any of them runs."""

    def __init__(self, link: "StdioLink") -> None:
        self._link = link

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        self._link.received(fd, data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        self._link.pipe_lost(fd)

    def process_exited(self) -> None:
        self._link.exited()

    def connection_lost(self, exc: Exception | None) -> None:
        self._link.gone()

    def pause_writing(self) -> None:
        self._link.writable.clear()

    def resume_writing(self) -> None:
        self._link.writable.set()


class StdioLink:
    """One running process. Made by `open_stdio`; `closed` is called once when the server is gone."""

    def __init__(
        self, settings: McpServerSettings, receive: Receive, closed: Closed, groups: ProcessGroups, limit: int
    ) -> None:
        self._settings = settings
        self._receive = receive
        self._closed = closed
        self._groups = groups
        self._lines = LineBuffer(limit)
        self.stderr = Tail(tuple(secret.get_secret_value() for secret in settings.env.values()))
        self._log = logging.getLogger(f"bridge.server.{settings.name}")
        self._transport: asyncio.SubprocessTransport | None = None
        self._container: Container | None = None
        self._reason: str | None = None
        self._gathered: list[bytes] = []
        self._exit = asyncio.Event()
        self._drained = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self._logged = [0.0, 0]

    @property
    def pid(self) -> int:
        assert self._transport is not None
        return self._transport.get_pid()

    async def start(self, ambient: Mapping[str, str]) -> None:
        """Raises CommandNotFound, OSError."""
        settings = self._settings
        environment = child_environment(settings, ambient, windows=sys.platform == "win32")
        environment[TAG] = f"{self._groups.boot_id}:{settings.name}"
        folder = working_folder(settings.cwd)
        command = resolve_command(settings.command or "", environment, folder)
        self._container = container_of(command, settings.args, environment)
        arguments = self._container.arguments if self._container else settings.args
        if self._container is not None:
            self._container.prepare()
        try:
            transport, _ = await asyncio.get_running_loop().subprocess_exec(
                lambda: _Process(self), command, *arguments, cwd=folder, env=environment, **popen_options()
            )
        except BaseException:  # cancelled, too: nobody else takes away what was prepared
            if self._container is not None:
                self._container.forget()
            raise
        self._transport = transport
        self._groups.add(self.pid, settings.name, self._container)
        self._widen()

    def _widen(self) -> None:
        """A pipe of 1 MiB on Linux: a 20 MB result takes a sixteenth of the wake-ups."""
        if sys.platform == "linux" and (pipe := cast(Any, self._transport).get_pipe_transport(1)) is not None:
            import fcntl

            with suppress(OSError, ValueError):  # the process may have ended already
                fcntl.fcntl(pipe.get_extra_info("pipe").fileno(), fcntl.F_SETPIPE_SZ, 1 << 20)

    async def send(self, message: JsonObject) -> None:
        """Raises LinkLost, ValueError (not JSON)."""
        self._post(message)
        if not self.writable.is_set():
            await self.writable.wait()
            if self._reason is not None:
                raise LinkLost(self._reason, sent=True)

    def quick(self) -> Post | None:
        """Where the pipe takes what it is given."""
        return self._post if self._reason is None and self.writable.is_set() else None

    def _post(self, message: JsonObject) -> None:
        data = encode(message) + b"\n"
        if self._reason is not None:
            raise LinkLost(self._reason)
        self._gathered.append(data)
        if len(self._gathered) == 1:
            turn.at_the_end(self._write)
        elif len(self._gathered) >= turn.BURST:
            self._write()

    def _write(self) -> None:
        if self._gathered and self._transport is not None and self._reason is None:
            cast(Any, self._transport.get_pipe_transport(0)).write(b"".join(self._gathered))
        self._gathered.clear()

    def adopt(self, version: str, *, modern: bool) -> None:
        """Nothing on this wire depends on the version."""

    # ------------------------------------------------------------ what the pipes tell

    def received(self, fd: int, data: bytes) -> None:
        if fd == 2:
            self._stderr(data)
            return
        outermost = turn.begin()
        try:
            for item in self._lines.feed(data):
                try:
                    self._receive(item)
                except Exception:  # whatever one message brings about: the others in this piece are others' answers
                    self._log.exception("a message could not be handled")
        finally:
            if outermost:
                turn.end()

    def _stderr(self, data: bytes) -> None:
        lines = self.stderr.feed(data)
        now = time.monotonic()
        if now - self._logged[0] >= 1:
            if self._logged[1] > _STDERR_LINES_PER_SECOND:
                self._log.info("%d lines of stderr left out", int(self._logged[1]) - _STDERR_LINES_PER_SECOND)
            self._logged = [now, 0]
        for line in lines:
            self._logged[1] += 1
            if self._logged[1] <= _STDERR_LINES_PER_SECOND:
                self._log.info("%s", line)

    def pipe_lost(self, fd: int) -> None:
        if fd == 1 and not self._exit.is_set():
            # an exit tells more than an end of output, and mostly follows at once
            asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._lost, "closed its output")

    def exited(self) -> None:
        self._exit.set()
        if self._transport is not None:
            kill_group(self.pid)  # a helper that lives on would keep the pipes open and the port taken
        # its last words may still be in the pipe: a result written right before the end counts
        asyncio.get_running_loop().call_later(_LAST_WORDS_SECONDS, self._lost, None)

    def gone(self) -> None:
        self._drained.set()
        self._lost(None)

    def _lost(self, reason: str | None) -> None:
        if self._reason is not None:
            return
        code = self._transport.get_returncode() if self._transport is not None else None
        if reason is None or code is not None:
            reason = _describe_exit(code)
        words = self.stderr.last()
        self._reason = f"{reason}: {words}" if words else reason
        self.writable.set()
        self._closed(self._reason)

    # ------------------------------------------------------------ the end

    async def close(self) -> None:
        """End of input, then SIGTERM, then SIGKILL to the whole group, whatever interrupts this."""
        transport = self._transport
        if transport is None:
            return
        strays: list[Any] = []
        try:
            if not self._exit.is_set():
                strays = strays_of(self.pid)
                if (stdin := transport.get_pipe_transport(0)) is not None:
                    stdin.close()
                await self._wait_exit(_EOF_SECONDS)
            if not self._exit.is_set():
                signal_group(self.pid, signal.SIGTERM)
                await self._wait_exit(_TERM_SECONDS)
        finally:
            self._end_all(strays)
            try:
                await self._wait_exit(_TERM_SECONDS)
                if self._container is not None:
                    # goes on in its thread, should this wait be cancelled
                    await asyncio.get_running_loop().run_in_executor(None, self._container.remove)
            finally:
                kill_group(self.pid)  # what was being forked at that moment
                transport.close()

    def _end_all(self, strays: list[Any]) -> None:
        kill_group(self.pid)
        for process in strays:
            with suppress(Exception):  # psutil's own errors: it has ended by itself
                process.kill()
        self._groups.remove(self.pid, ended=True)
        self._reason = self._reason or "stopped"

    async def _wait_exit(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._exit.wait()


def _describe_exit(code: int | None) -> str:
    if code is None:
        return "went away"
    if code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"exited with code {code}"


async def open_stdio(
    settings: McpServerSettings, receive: Receive, closed: Closed, groups: ProcessGroups, *,
    ambient: Mapping[str, str] | None = None, limit: int = MAX_LINE,
) -> StdioLink:  # fmt: skip
    """Start the server's process. Raises CommandNotFound, OSError."""
    link = StdioLink(settings, receive, closed, groups, limit)
    try:
        await link.start(os.environ if ambient is None else ambient)
    except BaseException:  # cancelled, too: a process that began must not stay
        await link.close()
        raise
    return link

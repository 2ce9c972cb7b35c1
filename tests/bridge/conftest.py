"""What the bridge's tests stand on: no process survives a test, and owners that run in the test's loop."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.servers.groups import ProcessGroups
from bridge.servers.owner import ServerOwner
from bridge.settings import McpServerSettings

HOSTILE = str(Path(__file__).parent / "hostile_server.py")


@pytest.fixture(autouse=True)
def no_process_survives() -> Iterator[None]:
    """Every process that carries a server's tag, or is a child of ours, is gone when a test ends."""
    before = {process.pid for process in psutil.process_iter()}
    yield
    end = time.monotonic() + 2
    while (left := [process for process in _ours(before) if not ended(process)]) and time.monotonic() < end:
        time.sleep(0.02)
    for process in left:
        process.kill()
    assert not left, f"processes survived: {left}"


def ended(process: psutil.Process) -> bool:
    """Whether a process is over, be it that nobody has asked for its exit code yet."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _ours(before: set[int]) -> Iterator[psutil.Process]:
    children = {process.pid for process in psutil.Process().children(recursive=True)}
    for process in psutil.process_iter():
        if process.pid in before:
            continue
        try:
            if process.pid in children or process.environ().get("AI_BRIDGE_TEST") == str(os.getpid()):
                yield process
        except psutil.Error:
            continue


@pytest.fixture(autouse=True)
def marked_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AI_BRIDGE_TEST", str(os.getpid()))


def hostile(behaviour: str = "", note: Path | None = None, **settings: Any) -> McpServerSettings:
    """The entry of a scripted server."""
    return McpServerSettings.model_validate({
        "name": "hostile", "command": sys.executable, "args": [HOSTILE, behaviour, *([str(note)] if note else [])],
        "inherit_env": ["AI_BRIDGE_TEST"], **settings,
    })  # fmt: skip


@asynccontextmanager
async def running(settings: McpServerSettings, *, wait: bool = True, **options: Any) -> AsyncIterator[ServerOwner]:
    """An owner whose task runs; stopped and awaited at the end."""
    groups = ProcessGroups()
    owner = ServerOwner(settings, groups, **options)
    async with AsyncExitStack() as stack:
        stack.callback(groups.close)
        task = asyncio.get_running_loop().create_task(owner.run())
        stack.push_async_callback(_stop, task)
        if wait:
            await asyncio.wait_for(owner.settled(), 20)
        yield owner


async def _stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for a condition, failing loudly."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


async def call(
    owner: ServerOwner, tool: str, arguments: dict[str, Any] | None = None, **options: Any
) -> dict[str, Any]:
    """A tool's result."""
    reply = await owner.request("tools/call", {"name": tool, "arguments": arguments or {}}, **options)
    return reply.value


def first_text(result: dict[str, Any]) -> str:
    text: str = result["content"][0]["text"]
    return text

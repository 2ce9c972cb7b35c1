"""The built-in tools put together for a house: what the composition root asks for.

The order is that of the list a model sees, and stays the same, so that providers' caches hit.
"""

import asyncio
import importlib
from dataclasses import dataclass
from pathlib import Path

from agent.settings import ToolSettings
from agent.tools.builtin.calculator import Calculator
from agent.tools.builtin.clock import Clock
from agent.tools.builtin.memory import MemoryTool
from agent.tools.builtin.memory_book import MemoryBook
from agent.tools.builtin.schedule import ScheduleTool
from agent.tools.builtin.schedule_book import Scheduler
from agent.tools.builtin.web_fetch import WebFetch
from agent.tools.builtin.web_search import WebSearch
from agent.tools.registry import Builtin, BuiltinTools


@dataclass(frozen=True, slots=True)
class Builtins:
    """The source, and what `/memory` and the scheduler's service need of it."""

    source: BuiltinTools
    memory: MemoryBook
    scheduler: Scheduler

    async def warm(self) -> None:
        """Import what the first call needs, beside the loop. Call it when the port is open."""
        for name in ("agent.tools.validating", "croniter"):  # by the doors that the calls use
            await asyncio.to_thread(importlib.import_module, name)


def builtins(home: Path, settings: ToolSettings | None = None) -> Builtins:
    """All of them but the disabled, with their files under `home`. Opens nothing yet."""
    settings = settings or ToolSettings()
    memory, scheduler = MemoryBook(home / "memory"), Scheduler(home)
    fetch = settings.web_fetch
    tools: list[Builtin] = [
        Clock(),
        Calculator(),
        WebFetch(seconds=fetch.seconds, most_bytes=fetch.max_bytes),
        WebSearch(settings.web_search),
        MemoryTool(memory),
        ScheduleTool(scheduler),
    ]
    return Builtins(BuiltinTools(tool for tool in tools if tool.spec.name not in settings.disabled), memory, scheduler)

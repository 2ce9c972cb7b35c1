"""Takes over changed agents and bindings while turns run; everything else waits for the next start.

A watched folder rather than a file, since editors replace files. A file that can't be
read changes nothing: the last good settings stay, and the log says why. It asks for no
authority: who can write the file is who runs the gateway.
"""

import asyncio
import logging
from pathlib import Path

from agent.agents import Agents
from gateway.settings import Loaded, load_settings

log = logging.getLogger("gateway.settings")


async def follow(loaded: Loaded, agents: Agents) -> None:
    """Until cancelled."""
    if loaded.source is None:
        await asyncio.Event().wait()
        return
    await asyncio.sleep(1.0)  # the watcher is imported when the start is over
    from watchfiles import awatch

    source = loaded.source.resolve()
    async for changes in awatch(source.parent, recursive=False, step=200, stop_event=None):
        if any(Path(path).name == source.name for _, path in changes):
            await _reload(source, agents)


async def _reload(source: Path, agents: Agents) -> None:
    try:
        settings = (await asyncio.to_thread(load_settings, source)).settings
    except Exception as error:  # whatever is wrong with the file, the settings in force stay
        log.error("the changed configuration is not taken over: %s", str(error).splitlines()[0])
        return
    if settings.agents != agents.profiles or settings.bindings != agents.bindings:
        agents.replace(settings.agents, settings.bindings)
        log.info("agents and bindings are those of the changed configuration")

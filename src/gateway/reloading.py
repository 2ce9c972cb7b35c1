"""Takes over changed agents and bindings while turns run; everything else waits for the next start.

The file's status is looked at once a second: a watcher of its folder, where the logs of the house lie too, would be
woken by every message, and weighs three megabytes. A file that can't be read changes nothing: the last good settings
stay, and the log says why. It asks for no authority: who can write the file is who runs the gateway.
"""

import asyncio
import logging
from pathlib import Path

from agent.agents import Agents
from gateway.settings import Loaded, load_settings

log = logging.getLogger("gateway.settings")

LOOK_SECONDS = 1.0


async def follow(loaded: Loaded, agents: Agents) -> None:
    """Until cancelled."""
    if loaded.source is None:
        await asyncio.Event().wait()
        return
    known = _mark(loaded.source)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        found = _mark(loaded.source)
        if found is not None and found != known:  # editors replace files: it may be missing for a moment
            known = found
            await _reload(loaded.source, agents)


def _mark(file: Path) -> tuple[int, int, int] | None:
    """What differs when a file was written or replaced; of what a link leads to, where it is one."""
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


async def _reload(source: Path, agents: Agents) -> None:
    try:
        settings = (await asyncio.to_thread(load_settings, source)).settings
    except Exception as error:  # whatever is wrong with the file, the settings in force stay
        log.error(
            "the changed configuration is not taken over: %s", (str(error) or type(error).__name__).splitlines()[0]
        )
        return
    if settings.agents != agents.profiles or settings.bindings != agents.bindings:
        agents.replace(settings.agents, settings.bindings)
        log.info("agents and bindings are those of the changed configuration")

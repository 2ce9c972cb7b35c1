"""Keeps a service of the house alive: one that breaks is begun again, and takes nobody else down with it.

`app.py` runs the services in one task group, where the first fault would end all of them. Only the log and the
listener may do that; a fault of ours in anything else is written down, with its trace, and after a pause that part
begins anew. It refuses to know what the services do.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger("gateway.keeping")

PAUSE_SECONDS = (1.0, 60.0)
"""Before beginning again: at first, and at most; it doubles with each fault."""
STEADY_SECONDS = 60.0
"""Who ran this long begins with the first pause again."""


async def keep(name: str, run: Callable[[], Awaitable[None]], *, pause: tuple[float, float] = PAUSE_SECONDS) -> None:
    """Run a service until cancelled, or until it returns by itself."""
    wait = pause[0]
    while True:
        began = time.monotonic()
        try:
            await run()
            return
        except Exception:  # whatever broke: it is this service's fault, and no reason for the others to end
            log.exception("%s broke and begins again", name)
        if time.monotonic() - began > STEADY_SECONDS:
            wait = pause[0]
        await asyncio.sleep(wait)
        wait = min(2 * wait, pause[1])


async def once(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Do something that others need only to be quick: where it fails, they find out by themselves."""
    try:
        await work()
    except Exception:  # whatever broke: others only wanted it to be quick, and do without
        log.exception("%s failed", name)

"""How long a channel holds up the gateway's loop while it comes up: a process for the test that asks.

`python -m tests.channels.loop_lag NAME SECTION` runs the channel under its manager, beside a
clock that ticks in the same loop, and prints `{"lag": seconds, "modules": […]}`: the most time that
passed between two ticks, from before the SDK was imported until the channel was ready.
"""

import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path

import aiohttp.web  # noqa: F401 – the gateway's listener has it already

from tests.channels.rig import Rig


class Clock:
    """Ticks as often as the loop lets it."""

    def __init__(self) -> None:
        self.lag = 0.0

    async def run(self) -> None:
        before = time.monotonic()
        while True:
            await asyncio.sleep(0.001)
            now = time.monotonic()
            self.lag, before = max(self.lag, now - before), now


async def main(name: str, section: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(Path(folder), {name: json.loads(section)})
        clock = Clock()
        ticking = asyncio.create_task(clock.run())
        await asyncio.sleep(0.05)
        clock.lag = 0.0
        await rig.start()
        await rig.ready(name)
        lag = clock.lag
        ticking.cancel()
        await rig.crash()
    modules = sorted({module.partition(".")[0] for module in sys.modules})
    print(json.dumps({"lag": lag, "modules": modules}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))

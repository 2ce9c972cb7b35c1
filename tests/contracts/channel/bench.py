"""The platform, the gateway's channels, and how long to look at them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.channels.rig import Rig
from tests.contracts.channel.platform import FakePlatform


class Bench:
    """What the parts of the suite stand on. A subclass defines `make_platform`."""

    settle = 0.15
    """Seconds after which nothing more is expected to happen."""

    def make_platform(self) -> FakePlatform:
        raise NotImplementedError

    @pytest.fixture
    async def platform(self) -> AsyncIterator[FakePlatform]:
        platform = self.make_platform()
        await platform.start()
        yield platform
        await platform.stop()

    @pytest.fixture
    async def rig(self, platform: FakePlatform, tmp_path: Path) -> AsyncIterator[Rig]:
        section = {
            "enabled": True, **platform.section(), "allow_from": ["42"],
            "groups": {platform.group: {"allow_from": ["42", "7"]}},
        }  # fmt: skip
        rig = Rig(tmp_path, {platform.name: section})
        await rig.start()
        await rig.ready(platform.name)
        yield rig
        await rig.crash()

    async def quiet(self) -> None:
        """Give what must not happen the time to happen."""
        await asyncio.sleep(self.settle)

    async def shown(self, platform: FakePlatform, *texts: str, seconds: float = 10, **where: Any) -> None:
        """The assistant's messages there are exactly `texts`, and stay so."""
        seen: list[str] = []
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            seen = [text.strip() for text in await platform.visible(**where)]
            if seen == list(texts):
                await self.quiet()
                seen = [text.strip() for text in await platform.visible(**where)]
                break
            await asyncio.sleep(0.02)
        assert seen == list(texts)

    async def settled(self, platform: FakePlatform, count: int, **where: Any) -> None:
        """`count` messages of the assistant are there, and no more come."""
        async with asyncio.timeout(10):
            while len(await platform.visible(**where)) < count:
                await asyncio.sleep(0.02)
        await self.quiet()
        assert len(await platform.visible(**where)) == count

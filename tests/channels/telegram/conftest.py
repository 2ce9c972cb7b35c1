"""A Bot API server, and a gateway's channels on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.channels.rig import Rig
from tests.channels.telegram.rigging import GROUP, section
from tests.fakes.telegram_server import FakeTelegram


@pytest.fixture
async def telegram() -> AsyncIterator[FakeTelegram]:
    async with FakeTelegram() as fake:
        fake.world.chat(42)
        fake.world.chat(GROUP).forum = True
        yield fake


@pytest.fixture
async def rig(telegram: FakeTelegram, tmp_path: Path) -> AsyncIterator[Rig]:
    async with Rig(tmp_path, section(telegram)).running("telegram") as rig:
        yield rig

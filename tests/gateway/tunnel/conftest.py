"""A gateway's tunnel on loopback for the tests of this folder."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.fakes.tunnel_rig import GatewayRig


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayRig]:
    home = tmp_path / "home"
    home.mkdir()
    rig = GatewayRig(home, auth_seconds=0.3)
    await rig.start()
    yield rig
    await rig.stop()

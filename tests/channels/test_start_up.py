"""A channel that comes up holds up nobody, and brings no SDK but its own."""

import asyncio
import json
import sys
from typing import Any

import pytest

from tests.fakes.remote import RemoteFake

SECTIONS: dict[str, Any] = {
    "discord": lambda port: {"token": "discord-token", "api_url": f"http://127.0.0.1:{port}/api/v10"},
    "feishu": lambda port: {"app_id": "cli_app", "app_secret": "feishu-secret", "domain": f"http://127.0.0.1:{port}"},
}
SDKS = {"discord": {"discord"}, "feishu": set[str]()}


async def come_up(name: str) -> dict[str, Any]:
    async with RemoteFake(f"{name}_server") as fake:
        section = {"enabled": True, **SECTIONS[name](fake.port)}
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.channels.loop_lag", name, json.dumps(section), stdout=asyncio.subprocess.PIPE
        )
        out, _ = await child.communicate()
        said: dict[str, Any] = json.loads(out)
        return said


@pytest.mark.quiet
@pytest.mark.parametrize("name", ["discord", "feishu"])
async def test_no_request_waits_50_ms_longer_while_it_comes_up(name: str) -> None:
    lags = []
    for _ in range(4):  # the machine is shared: one quiet run is enough
        said = await come_up(name)
        assert set(said["modules"]) & {"discord", "lark_oapi", "telegram"} == SDKS[name]
        lags.append(said["lag"])
        if lags[-1] < 0.05:
            break
    assert min(lags) < 0.05

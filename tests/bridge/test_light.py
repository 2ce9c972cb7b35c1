"""The bridge is light: what it imports, how much memory it takes with three servers up, how soon it has spoken."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.bridge.conftest import HOSTILE
from tests.bridge.test_app import BridgeProcess, gateway, make, server
from tests.fakes.tunnel_rig import GatewayRig, until

__all__ = ["gateway", "make"]

FOREIGN = ("openai", "telegram", "discord", "lark_oapi", "aiohttp", "gateway", "agent", "channels", "bus")


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_importing_the_bridge_pulls_in_nothing_foreign() -> None:
    loaded = modules_after(
        "import bridge.app, bridge.cli.root, bridge.local, bridge.doctor, bridge.importing, bridge.service"
    )
    assert not loaded & set(FOREIGN)
    assert not loaded & {"mcp", "mcp_types", "httpx2", "anyio", "rich", "jsonschema"}


@pytest.mark.quiet
def test_help_comes_quickly() -> None:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bridge", "--help"], capture_output=True, check=True)
    assert time.perf_counter() - began < 1.5


async def test_three_servers_in_45_megabytes(gateway: GatewayRig, tmp_path: Path) -> None:
    bridge = BridgeProcess(tmp_path / "b", gateway.url, gateway.token())
    bridge.write({name: server(HOSTILE) for name in ("a", "b", "c")})
    bridge.start()
    try:
        await until(lambda: [one["state"] for one in bridge.status().get("servers", [])] == ["ready"] * 3)
        await asyncio.sleep(0.3)
        assert bridge.process is not None
        resident = psutil.Process(bridge.process.pid).memory_info().rss / 2**20
        assert resident <= 45, f"{resident:.1f} MB"
    finally:
        await bridge.stop()

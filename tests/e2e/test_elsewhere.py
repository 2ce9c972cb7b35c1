"""Windows and macOS, as far as they can be tried from here: the programs without what only POSIX has, and the types."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bridge.conftest import HOSTILE
from tests.e2e.gateway_process import Client

ROOT = Path(__file__).resolve().parent.parent.parent
ELSEWHERE = str(ROOT / "tests" / "fakes" / "elsewhere.py")
TOKEN = "a-token-of-somebody-0123456789abcdef"


async def program(name: str, *arguments: str, home: Path) -> asyncio.subprocess.Process:
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "TMPDIR")}
    return await asyncio.create_subprocess_exec(
        sys.executable, ELSEWHERE, name, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT, cwd=home,
        env={**kept, "HOME": str(home), "GATEWAY_HOME": str(home / "state"), "PYTHONPATH": str(ROOT / "src")},
    )  # fmt: skip


async def test_both_programs_without_what_only_posix_has(tmp_path: Path) -> None:
    configuration = tmp_path / "gateway.yaml"
    configuration.write_text(f"server: {{port: 0}}\nauth: {{tokens: [{{user: alice, role: user, token: {TOKEN}}}]}}\n")
    (tmp_path / ".ai-bridge").mkdir()
    entry = {"command": sys.executable, "args": [HOSTILE, ""], "tools": {"allow": ["echo"]}}
    (tmp_path / ".ai-bridge" / "config.yaml").write_text(json.dumps({"mcp_servers": {"fs": entry}}))
    gateway = await program("gateway", "run", "--config", str(configuration), home=tmp_path)
    running = []
    try:
        assert gateway.stdout is not None
        url, lines = "", []
        async with asyncio.timeout(20):
            while not url and (line := (await gateway.stdout.readline()).decode()):
                lines.append(line)
                if line.startswith("ws "):
                    url = line.split()[1]
        assert url, "".join(lines)
        async with Client(url, TOKEN) as client:
            assert (await client.ask("what time is it?"))["type"] == "chat.done"
            bridge = await program("bridge", "connect", url.removesuffix("/ws") + "/v1/tunnel", "--pair", home=tmp_path)
            running.append(bridge)
            assert bridge.stdout is not None
            line = (await asyncio.wait_for(bridge.stdout.readline(), 15)).decode()
            await client.call("bridge.pair", code=line.split()[1])
            async with asyncio.timeout(15):
                while not [tool for tool in (await client.call("tools.list"))["tools"]
                           if tool["name"] == "fs_echo" and tool["available"]]:  # fmt: skip
                    await asyncio.sleep(0.05)
            result = await client.call("tools.call", name="fs_echo", arguments={"text": "from afar"})
            assert "from afar" in json.dumps(result)
            bridge.send_signal(signal.SIGINT)
            out, _ = await asyncio.wait_for(bridge.communicate(), 15)
            assert bridge.returncode == 0, out.decode()
        gateway.send_signal(signal.SIGINT)
        out, _ = await asyncio.wait_for(gateway.communicate(), 15)
        assert gateway.returncode == 0, out.decode()
    finally:
        for each in (gateway, *running):
            if each.returncode is None:
                each.kill()
                await each.wait()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_nothing_is_used_that_the_platform_lacks(platform: str) -> None:
    """typeshed knows which names each platform has; what `sys.platform` guards is not looked at there."""
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--platform", platform, "--cache-dir", str(ROOT / ".mypy_cache" / platform)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-4000:]

"""`ai-bridge` as a single file: built as `make bridge-binary` builds it, started, paired with a gateway, killed."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import psutil
import pytest

from tests.bridge.conftest import HOSTILE
from tests.e2e.gateway_process import Client, gateway_process

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGING = ROOT / "packaging" / "ai-bridge"


@pytest.fixture(scope="module")
def binary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one-file")
    venv.create(folder / "venv", with_pip=False, symlinks=True)
    python = str(folder / "venv" / "bin" / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "install", "--quiet"]
    subprocess.run([*pip, "--require-hashes", "-r", str(PACKAGING / "one_file.lock")], check=True, timeout=300)
    [packages] = (folder / "venv").glob("lib/python*/site-packages")
    (packages / "third_party.pth").write_text(sysconfig.get_path("purelib") + "\n")
    done = subprocess.run(
        [python, "-m", "PyInstaller", "--noconfirm", "--log-level=WARN", "--distpath", str(folder / "dist"),
         "--workpath", str(folder / "work"), str(PACKAGING / "one_file.spec")],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "dist" / "ai-bridge"


def environment(home: Path) -> dict[str, str]:
    """No Python of ours on the way: the file stands alone."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": tempfile.gettempdir()}


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_one_file_is_enough(binary: Path, tmp_path: Path) -> None:
    assert binary.stat().st_size < 60 * 2**20
    laptop = tmp_path / "laptop"
    (laptop / ".ai-bridge").mkdir(parents=True)
    configuration = laptop / ".ai-bridge" / "config.yaml"
    entry = {"command": sys.executable, "args": [HOSTILE, ""], "tools": {"allow": ["echo"]}}
    configuration.write_text(json.dumps({"mcp_servers": {"fs": entry}}))

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(binary), *arguments], capture_output=True, text=True, env=environment(laptop), cwd=laptop, timeout=60,
            check=False,
        )  # fmt: skip

    assert run("--version").stdout.strip()
    done = run("call", "fs_echo", '{"text": "hällo"}')
    assert (done.returncode, done.stdout) == (0, "hällo\n"), done.stderr
    assert str(binary) in run("service", "install", "--dry-run").stdout
    assert '"built": "one file"' in run("diag", "--json").stdout

    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as client:
        url = gateway.url.replace("http", "ws", 1) + "/v1/tunnel"
        running = await asyncio.create_subprocess_exec(
            str(binary), "connect", url, "--pair", stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            env=environment(laptop), cwd=laptop,
        )  # fmt: skip
        try:
            assert running.stdout is not None
            line = (await asyncio.wait_for(running.stdout.readline(), 20)).decode()
            await client.call("bridge.pair", code=line.split()[1])
            async with asyncio.timeout(20):
                while not [tool for tool in (await client.call("tools.list"))["tools"]
                           if tool["name"] == "fs_echo" and tool["available"]]:  # fmt: skip
                    await asyncio.sleep(0.1)
            result = await client.call("tools.call", name="fs_echo", arguments={"text": "from afar"})
            assert "from afar" in json.dumps(result)
            own = psutil.Process(running.pid).children(recursive=True)
            servers = [each for each in own if HOSTILE in each.cmdline()]
            assert servers
            for each in psutil.Process(running.pid).children():  # the bootloader's child is the bridge
                os.kill(each.pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                while any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in servers):
                    await asyncio.sleep(0.1)
            await asyncio.wait_for(running.wait(), 10)  # the bootloader takes away what it unpacked, and ends
        finally:
            if running.returncode is None:
                running.kill()
            await running.wait()

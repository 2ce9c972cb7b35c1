"""What lies under examples/ is run against a gateway, as its README says."""

import asyncio
import json
import os
import shutil
import sys
import tomllib
from pathlib import Path

import pytest

from tests.e2e.gateway_process import ALICE, Client, GatewayProcess, gateway_process

EXAMPLES = Path(__file__).resolve().parent.parent.parent / "examples"


async def run(*command: str, **environ: str) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LANG", "PYTHONPATH", "HOME")}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        env={**kept, "GATEWAY_TOKEN": ALICE, **environ},
    )  # fmt: skip
    out, error = await asyncio.wait_for(process.communicate(), 30)
    return process.returncode or 0, out.decode(), error.decode()


def javascript() -> list[str]:
    node = shutil.which("node")
    assert node, "Node.js is missing: sudo apt-get install -y nodejs npm"
    return [node, "--experimental-websocket", str(EXAMPLES / "websocket_client.mjs")]


async def test_the_clients(tmp_path: Path) -> None:
    async with gateway_process(tmp_path) as gateway:
        for command in ([sys.executable, str(EXAMPLES / "websocket_client.py")], javascript()):
            code, out, error = await run(*command, "count to 12", GATEWAY_URL=gateway.url)
            assert code == 0 and "1" in out and "12" in out, error
            code, out, error = await run(*command, "hi", GATEWAY_URL=gateway.url, GATEWAY_TOKEN="wrong")
            assert code != 0
        command = [sys.executable, str(EXAMPLES / "openai_client.py")]
        code, out, error = await run(*command, "hello", GATEWAY_URL=gateway.url)
        assert code == 0 and len(out) > 3, error
        async with Client(gateway.ws) as client:
            assert "example" in [one["session_key"] for one in (await client.call("session.list"))["sessions"]]


async def test_the_python_client_goes_on_after_a_restart(tmp_path: Path) -> None:
    gateway = GatewayProcess(tmp_path)
    await gateway.start()
    port = int(gateway.url.rsplit(":", 1)[1])
    gateway.configuration["server"] = {"port": port}
    asking = asyncio.create_task(
        run(sys.executable, str(EXAMPLES / "websocket_client.py"), "count to 150", GATEWAY_URL=gateway.url)
    )
    async with Client(gateway.ws) as watching:
        await watching.call("session.subscribe", session_key="agent:main:websocket:direct:alice")
        await watching.until(lambda: len([e for e in watching.events if e["type"] == "chat.delta"]) > 3)
    await gateway.kill()
    await gateway.start()
    try:
        code, out, error = await asking
        assert code == 0 and "150" in out, error
    finally:
        await gateway.stop()


async def test_the_bridge_with_a_home_made_server(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as client:
        make = ("token", "create", "--user", "alice", "--role", "user", "--scope", "tunnel", "--json")
        code, out, _ = await gateway.command(*make)
        assert code == 0
        config = tmp_path / "config.yaml"
        shutil.copy(EXAMPLES / "bridge" / "config.yaml", config)
        bridge = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "bridge", "run", "--config", str(config), stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "AI_BRIDGE_TOKEN": json.loads(out)["token"], "PYTHON": sys.executable,
                 "GATEWAY_TUNNEL": gateway.ws.removesuffix("/ws") + "/v1/tunnel",
                 "DICE": str(EXAMPLES / "bridge" / "dice.py")},
        )  # fmt: skip
        try:
            async with asyncio.timeout(20):
                while not [tool for tool in (await client.call("tools.list"))["tools"]
                           if tool["name"] == "dice_roll" and tool["available"]]:  # fmt: skip
                    await asyncio.sleep(0.05)
            rolled = await client.call("tools.call", name="dice_roll", arguments={"sides": 6, "times": 3})
            assert [int(each) in range(1, 7) for each in rolled["content"][0]["text"].split()] == [True] * 3
            answer = await client.ask('use dice_roll {"sides": 2, "times": 1}')
            assert answer["type"] == "chat.done", answer
        finally:
            bridge.terminate()
            await bridge.communicate()


@pytest.fixture
def letters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package as an installer leaves it: its modules and its entry points."""
    project = tomllib.loads((EXAMPLES / "letters" / "pyproject.toml").read_text())["project"]
    site = tmp_path / "site"
    shutil.copytree(EXAMPLES / "letters" / "src", site, ignore=shutil.ignore_patterns("__pycache__"))
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = project["entry-points"]
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n" + "".join(f"{n} = {v}\n" for n, v in rows.items()) for group, rows in points.items())
    )
    monkeypatch.setenv("PYTHONPATH", f"{os.environ.get('PYTHONPATH', 'src')}{os.pathsep}{site}")
    return tmp_path / "post"


async def test_a_sixth_channel(tmp_path: Path, letters: Path) -> None:
    channels = {"letters": {"enabled": True, "folder": str(letters), "allow_from": ["ann"], "look_seconds": 0.05}}
    box = letters / "in" / "ann"
    async with gateway_process(tmp_path / "home", {"channels": channels}):
        box.mkdir(parents=True)
        (box / "first.tmp").write_text("what time is it?")
        (box / "first.tmp").rename(box / "first.txt")
        (box / "bad name.txt").write_text("x")
        async with asyncio.timeout(15):
            while not (answers := list((letters / "out" / "ann").glob("first-*.txt"))):
                await asyncio.sleep(0.05)
        assert len(answers) == 1 and answers[0].read_text().strip()
        async with asyncio.timeout(5):
            while (box / "first.txt").exists():
                await asyncio.sleep(0.02)
        assert (box / "bad name.refused").exists()
    [session] = (tmp_path / "home" / "sessions").glob("*/*.jsonl")
    assert '"agent:main:letters:direct:ann"' in session.read_text()

"""`ai-bridge` as a person runs it: a process of its own, real MCP servers, a real gateway's end of the tunnel."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from agent.ports.tools import ToolSpec
from bus.errors import GatewayError, ToolDenied, Unreachable
from tests.bridge.conftest import HOSTILE, ended
from tests.bridge.test_real_servers import REAL
from tests.fakes.tunnel_rig import Caller, GatewayRig, actor, tool_call, until


class BridgeProcess:
    """`python -m bridge run` with a folder of its own."""

    def __init__(self, folder: Path, url: str, token: str) -> None:
        self.folder = folder
        self.log = folder / "output"
        folder.mkdir(exist_ok=True)
        self.url = url
        (folder / "secrets.yaml").write_text(f"TOKEN: {token}\n")
        (folder / "secrets.yaml").chmod(0o600)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, servers: dict[str, Any], **more: Any) -> None:
        text = {
            "version": "1.0", "mcp_servers": servers,
            "server": {"url": self.url, "token": "${secret:TOKEN}", "name": "laptop", "reconnect_interval": "100ms"},
            "policy": {"default": "allow"}, **more,
        }  # fmt: skip
        (self.folder / "config.yaml").write_text(json.dumps(text))

    def start(self, *arguments: str) -> None:
        config = str(self.folder / "config.yaml")
        command = [sys.executable, "-m", "bridge", *(arguments or ("run",)), "--config", config]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    @property
    def output(self) -> str:
        return self.log.read_text()

    def status(self) -> dict[str, Any]:
        try:
            told: dict[str, Any] = json.loads((self.folder / "status.json").read_text())
        except (OSError, ValueError):
            return {}
        return told

    async def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, 20)


def server(program: str, *arguments: str, **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [program, *arguments], "inherit_env": ["AI_BRIDGE_TEST"], **more}


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayRig]:
    (tmp_path / "home").mkdir()
    rig = GatewayRig(tmp_path / "home")
    await rig.start()
    yield rig
    await rig.stop()


@pytest.fixture
def make(tmp_path: Path, gateway: GatewayRig) -> Iterator[Callable[[], BridgeProcess]]:
    made: list[BridgeProcess] = []

    def one() -> BridgeProcess:
        made.append(BridgeProcess(tmp_path / f"bridge{len(made)}", gateway.url, gateway.token()))
        return made[-1]

    yield one
    for bridge in made:
        if bridge.process is not None and bridge.process.poll() is None:
            bridge.process.kill()
            bridge.process.wait()


async def specs(gateway: GatewayRig) -> dict[str, ToolSpec]:
    return {spec.name: spec for spec in await gateway.tools.list_tools(actor())}


@asynccontextmanager
async def up(bridge: BridgeProcess, gateway: GatewayRig, *tools: str) -> AsyncIterator[None]:
    bridge.start()
    try:
        async with asyncio.timeout(20):
            while not set(tools) <= {spec.name for spec in (await specs(gateway)).values() if spec.available}:
                assert bridge.process is not None
                assert bridge.process.poll() is None, bridge.output
                await asyncio.sleep(0.02)
        yield
    finally:
        assert await bridge.stop() == 0, bridge.output


async def text(gateway: GatewayRig, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> str:
    result = await Caller(gateway).call(tool_call(name, arguments or {}, **more))
    return str(result.content[0]["text"])


async def test_a_persons_tools_from_afar(gateway: GatewayRig, make: Callable[[], BridgeProcess]) -> None:
    bridge = make()
    bridge.write({"real": server(REAL, "stdio", tools={"deny": ["die"], "idempotent": ["add"]}), "h": server(HOSTILE)})
    async with up(bridge, gateway, "real_add", "h_echo"):
        listed = await specs(gateway)
        assert (listed["real_add"].source, listed["real_add"].idempotent) == ("bridge", True)
        assert listed["h_echo"].idempotent is False
        assert await text(gateway, "real_add", {"a": 2, "b": 3}) == "5"
        with pytest.raises(ToolDenied):
            await text(gateway, "real_die")
        with pytest.raises(GatewayError) as dead:
            await text(gateway, "h_crash")
        assert dead.value.code == 2006
        assert await text(gateway, "h_echo", {"text": "back again"}) == "back again"
        big = await Caller(gateway).call(tool_call("h_big", {"size": 3_000_000}))
        assert len(big.content[0]["text"]) == 3_000_000
        await until(lambda: bridge.status().get("link", {}).get("state") == "connected")
        ready = {"real": "ready", "h": "ready"}
        await until(lambda: {one["name"]: one["state"] for one in bridge.status()["servers"]} == ready)
        assert "real: ready" in bridge.output
        found = subprocess.run(
            [sys.executable, "-m", "bridge", "status", "--config", str(bridge.folder / "config.yaml")],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert found.returncode == 0
        assert "real: ready" in found.stdout
    assert not (bridge.folder / "status.json").exists()
    with pytest.raises(Unreachable):
        await text(gateway, "h_echo")


async def test_ask_is_answered_from_the_chat_and_from_the_terminal(
    gateway: GatewayRig, make: Callable[[], BridgeProcess]
) -> None:
    bridge = make()
    bridge.write({"h": server(HOSTILE, tools={"ask": ["echo"]})})
    async with up(bridge, gateway, "h_echo"):
        caller = Caller(gateway)
        task = asyncio.create_task(caller.call(tool_call("h_echo", {"text": "yes"})))
        await caller.asked.wait()
        await gateway.desk.resolve(caller.approval.approval_id, "allow_once", actor())
        assert (await task).content[0]["text"] == "yes"
        caller = Caller(gateway)
        task = asyncio.create_task(caller.call(tool_call("h_echo", {"text": "terminal"})))
        await caller.asked.wait()
        command = [sys.executable, "-m", "bridge", "approve", "--config", str(bridge.folder / "config.yaml")]
        listed = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
        assert caller.approval.approval_id in listed.stdout
        approve = [*command, caller.approval.approval_id]
        done = await asyncio.to_thread(subprocess.run, approve, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert (await task).content[0]["text"] == "terminal"
        again = await asyncio.to_thread(subprocess.run, approve, capture_output=True, text=True, check=False)
        assert again.returncode == 1


async def test_a_question_of_a_server_reaches_the_chat(gateway: GatewayRig, make: Callable[[], BridgeProcess]) -> None:
    bridge = make()
    bridge.write({"h": server(HOSTILE)})
    async with up(bridge, gateway, "h_ask"):
        caller = Caller(gateway)
        task = asyncio.create_task(caller.call(tool_call("h_ask", {})))
        await caller.questions.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_hot_reload(gateway: GatewayRig, make: Callable[[], BridgeProcess]) -> None:
    bridge = make()
    bridge.write({"a": server(HOSTILE), "b": server(HOSTILE)})
    async with up(bridge, gateway, "a_echo", "b_echo"):
        await until(lambda: [one["state"] for one in bridge.status().get("servers", [])] == ["ready", "ready"])
        pids = {one["name"]: one["pid"] for one in bridge.status()["servers"]}
        (bridge.folder / "config.yaml").write_text("{server: {bad")
        await until(lambda: "is not used" in bridge.output)
        assert await text(gateway, "a_echo", {"text": "x"}) == "x"
        bridge.write({"a": server(HOSTILE), "c": server(HOSTILE)}, policy={"default": "deny"})
        async with asyncio.timeout(15):
            while not ("c_echo" in (now := await specs(gateway)) and "b_echo" not in now):
                await asyncio.sleep(0.05)
        await until(lambda: {one["name"] for one in bridge.status()["servers"]} == {"a", "c"})
        assert bridge.status()["servers"][0]["pid"] == pids["a"]
        assert ended(psutil.Process(pids["b"])) if psutil.pid_exists(pids["b"]) else True
        with pytest.raises(ToolDenied):
            await text(gateway, "a_echo")


async def test_a_configuration_that_could_not_be_started_with_changes_nothing(
    gateway: GatewayRig, make: Callable[[], BridgeProcess]
) -> None:
    """Emptied by an editor that writes it anew, or with an address that is not safe: calls go on."""
    bridge = make()
    bridge.write({"a": server(HOSTILE)})
    async with up(bridge, gateway, "a_echo"):
        file = bridge.folder / "config.yaml"
        good = json.loads(file.read_text())
        for wrong in ("", "# nothing\n", json.dumps(good | {"server": good["server"] | {"url": "ws://10.0.0.1/"}})):
            said = len(bridge.output)
            file.write_text(wrong)
            await until(lambda said=said: "is not used" in bridge.output[said:])
            assert await text(gateway, "a_echo", {"text": "x"}) == "x"
            assert bridge.process is not None and bridge.process.poll() is None


@pytest.mark.attack(83)
@pytest.mark.parametrize("ignored", [False, True], ids=["a window is closed", "nohup"])
async def test_a_terminal_that_goes_away(gateway: GatewayRig, make: Callable[[], BridgeProcess], ignored: bool) -> None:
    """A clean stop, as for Ctrl-C; whoever said `nohup` meant it."""
    bridge = make()
    bridge.write({"good": server(str(HOSTILE))})
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
    try:
        bridge.start()
    finally:
        signal.signal(signal.SIGHUP, before)
    assert bridge.process is not None
    await until(lambda: bridge.status().get("link", {}).get("state") == "connected")
    bridge.process.send_signal(signal.SIGHUP)
    if ignored:
        await asyncio.sleep(0.3)
        assert bridge.process.poll() is None
    assert await bridge.stop(signal.SIGTERM if ignored else signal.SIGHUP) == 0, bridge.output
    assert "stopping" in bridge.output


async def test_only_one_bridge_a_folder(gateway: GatewayRig, make: Callable[[], BridgeProcess]) -> None:
    bridge = make()
    bridge.write({})
    bridge.start()
    assert bridge.process is not None
    await until(lambda: bridge.status().get("link", {}).get("state") == "connected")
    command = [sys.executable, "-m", "bridge", "run", "--config", str(bridge.folder / "config.yaml")]
    second = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert str(bridge.process.pid) in second.stderr
    assert await bridge.stop(signal.SIGINT) == 0


async def test_a_revoked_token_ends_it_with_a_reason(gateway: GatewayRig, make: Callable[[], BridgeProcess]) -> None:
    bridge = make()
    (bridge.folder / "secrets.yaml").write_text("TOKEN: not-a-token\n")
    bridge.write({"h": server(HOSTILE)})
    bridge.start()
    assert bridge.process is not None
    assert await asyncio.to_thread(bridge.process.wait, 20) == 3
    assert "token" in bridge.output
    assert "not-a-token" not in bridge.output


async def test_a_killed_bridge_leaves_nothing_and_comes_back(
    gateway: GatewayRig, make: Callable[[], BridgeProcess], tmp_path: Path
) -> None:
    note = tmp_path / "note"
    bridge = make()
    stubborn = server(HOSTILE, "ignore_term", str(tmp_path / "pid"))
    bridge.write({"h": server(HOSTILE, "", str(note)), "stubborn": stubborn})
    async with up(bridge, gateway, "h_note", "stubborn_good"):
        pass
    bridge.start()
    await until(lambda: bridge.status().get("link", {}).get("state") == "connected")
    await until(lambda: all(one["pid"] for one in bridge.status().get("servers", [{"pid": 0}])))
    below = psutil.Process(bridge.process.pid).children(recursive=True)
    servers = [one for one in below if HOSTILE in " ".join(one.cmdline())]
    assert len(servers) >= 2
    os.kill(bridge.process.pid, signal.SIGKILL)
    began = time.monotonic()
    bridge.process.wait()
    await until(lambda: all(map(ended, below)), 5)
    assert time.monotonic() - began < 2
    async with up(bridge, gateway, "h_note"):
        assert await text(gateway, "h_note", {"text": "after"}) == "noted"

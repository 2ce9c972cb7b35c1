"""Every service that is kept alive, in a whole gateway: broken once in its work, it works again."""

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import websockets

from bus.events import Actor
from gateway import app, keeping
from gateway.composition import Gateway
from gateway.settings import Loaded
from tests.gateway.edge import harness
from tests.gateway.edge.harness import TOKENS, Running, running
from tests.gateway.edge.test_unwritable import SERVER

Probe = Callable[[Gateway, Running], Awaitable[None]]
PACES = ("gateway.hub.SWEEP_SECONDS", "gateway.sockets.SWEEP_SECONDS", "gateway.app.SWEEP_SECONDS",
         "gateway.reloading.LOOK_SECONDS", "gateway.tunnel.directory._LOOK_SECONDS")  # fmt: skip
BREAKS = {
    "hub": "gateway.hub.Hub.sweep",
    "sockets": "gateway.sockets.Sockets.sweep",
    "channels": "channels.outbox.Outbox.prune",
    "care": "agent.sessions.jsonl_store.JsonlStore.sweep",
    "cloud tools": "gateway.tools.cloud_mcp.CloudMcp._live",
    "bridges": "bridge.protocol.gateway_side.GatewaySession.tick",
    "schedules": "agent.tools.builtin.schedule_book.Scheduler._take",
    "agents": "gateway.reloading._mark",
}
"""What a service calls in its work: the first call that is `armed` breaks."""


class Fault:
    """Stands before `original`, and raises once when it is told to."""

    def __init__(self, original: Callable[..., Any]) -> None:
        self.original = original
        self.armed = self.broke = False
        self.after = 0

    def __get__(self, instance: Any, owner: Any) -> Callable[..., Any]:
        return lambda *args, **more: self(instance, *args, **more)

    def __call__(self, *args: Any, **more: Any) -> Any:
        if self.armed:
            self.armed, self.broke = False, True
            raise RuntimeError("a fault of ours")
        self.after += self.broke
        return self.original(*args, **more)


async def until(true: Callable[[], Any], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


async def _bridge(gateway: Running) -> Any:
    socket = await websockets.connect(gateway.ws.removesuffix("/ws") + "/tunnel", proxy=None)
    await socket.send(json.dumps({"type": "AUTH", "token": TOKENS["alice"]}))
    return socket


async def _remind(gateway: Gateway, served: Running) -> None:
    actor = Actor(user="alice", scopes=frozenset({"chat", "tools"}), channel="websocket")
    await gateway.toolbox.scheduler.add(actor, None, "drink tea", due=time.time())
    async with served.client("alice") as wire, asyncio.timeout(10):
        while await wire.code("chat.history", session_key="agent:main:websocket:direct:alice"):
            await asyncio.sleep(0.05)


async def _call(gateway: Gateway, served: Running) -> None:
    async with served.client("alice") as wire, asyncio.timeout(20):
        for tool in ("one_odd", "two_odd"):
            while await wire.code("tools.call", name=tool, arguments={"kind": "large"}):
                await asyncio.sleep(0.05)


async def _reload(gateway: Gateway, served: Running) -> None:
    assert gateway.loaded.source is not None
    gateway.loaded.source.write_text("agents: {helper: {system_prompt: be kind}}")
    await until(lambda: "helper" in gateway.agents.profiles)


async def _channel(gateway: Gateway, served: Running) -> None:
    await until(lambda: gateway.channels.states()["telegram"]["state"] == "degraded")


async def _nothing(gateway: Gateway, served: Running) -> None:
    """That it is called again and again is its work."""


WORKS: dict[str, Probe] = {
    "hub": _nothing, "sockets": _nothing, "care": _nothing, "bridges": _nothing, "channels": _channel,
    "cloud tools": _call, "schedules": _remind, "agents": _reload,
}  # fmt: skip


@pytest.mark.parametrize("name", list(BREAKS))
async def test_a_service_that_broke_works_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    for place in PACES:
        monkeypatch.setattr(place, 0.02)
    monkeypatch.setattr(keeping.keep, "__kwdefaults__", {"pause": (0.02, 0.1)})
    source, script, made = tmp_path / "config.yaml", tmp_path / "odd.py", []
    source.write_text("{}")
    script.write_text(SERVER)
    monkeypatch.setattr(harness, "Loaded", lambda **given: Loaded(**given | {"source": source}))

    async def compose(*args: Any) -> Gateway:
        made.append(await original_compose(*args))
        return made[0]

    original_compose = app.compose
    monkeypatch.setattr(app, "compose", compose)
    where, _, what = BREAKS[name].rpartition(".")
    holder: Any = sys.modules.get(where) or getattr(sys.modules[where.rpartition(".")[0]], where.rpartition(".")[2])
    fault = Fault(getattr(holder, what))
    monkeypatch.setattr(holder, what, fault)
    fault.armed = name in ("cloud tools", "channels")  # what is called but at the beginning breaks there
    configuration: dict[str, Any] = {}
    if name == "cloud tools":
        server = {"command": sys.executable, "args": [str(script)]}
        configuration["mcp_servers"] = [{"name": "one", **server}, {"name": "two", **server}]
    if name == "channels":
        telegram = {"enabled": True, "token": "1:x", "base_url": "http://127.0.0.1:9"}
        configuration["channels"] = {"telegram": telegram}
    async with running(tmp_path / "home", pace=0.0, **configuration) as served:
        gateway = made[0]
        assert set(app.kept_services(gateway)) == set(BREAKS) == set(WORKS)
        socket = await _bridge(served)
        fault.armed = fault.armed or not fault.broke
        gateway.toolbox.scheduler.look()
        await until(lambda: fault.broke)
        await until(lambda: fault.after)
        await WORKS[name](gateway, served)
        assert (await served.rpc("bridge.list", "alice"))["result"]["bridges"][0]["connected"]
        await socket.close()
    assert f"{name} broke and begins again" in caplog.text

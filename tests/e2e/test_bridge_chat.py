"""A person's own tool from a chat: real processes of gateway, bridge and MCP server; and their deaths."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from bridge.audit import verify
from tests.bridge.test_app import BridgeProcess
from tests.e2e.gateway_process import ALICE, BOB, Client, GatewayProcess, Refused, gateway_process

EFFECTS = str(Path(__file__).parent.parent / "fakes" / "effects_server.py")


@asynccontextmanager
async def house(tmp_path: Path, **bridge: Any) -> AsyncIterator[tuple[GatewayProcess, BridgeProcess, Path]]:
    """A gateway on a port that stays the same over restarts, and alice's bridge with one server that leaves traces."""
    effects = tmp_path / "effects"
    async with gateway_process(tmp_path / "home", {"limits": {"drain_seconds": 0.2}}) as gateway:
        gateway.configuration["server"]["port"] = int(gateway.url.rsplit(":", 1)[1])
        laptop = BridgeProcess(tmp_path / "laptop", gateway.url.replace("http", "ws", 1) + "/tunnel", ALICE)
        server = {"command": sys.executable, "args": [EFFECTS, str(effects)]}
        laptop.write({"effects": server}, **bridge)
        laptop.start()
        try:
            async with Client(gateway.ws) as client:
                await tools_there(client)
            yield gateway, laptop, effects
        finally:
            await laptop.stop()


async def tools_there(client: Client, seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while True:
            tools = {tool["name"]: tool for tool in (await client.call("tools.list"))["tools"]}
            if tools.get("effects_append_slowly", {}).get("available"):
                return
            await asyncio.sleep(0.05)


async def remembered(home: Path, tool: bytes) -> None:
    """What a bridge offers is written down some fifty milliseconds after it came; on a busy machine, later."""
    async with asyncio.timeout(10):
        while not any(tool in file.read_bytes() for file in home.glob("bridges.db*")):
            await asyncio.sleep(0.02)


def lines(effects: Path) -> list[str]:
    return effects.read_text().splitlines() if effects.exists() else []


async def test_a_chat_uses_a_tool_on_the_laptop(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _laptop, effects), Client(gateway.ws) as client:
        done = await client.ask('use effects_append_line {"line": "one"}')
        assert done["type"] == "chat.done" and "appended one" in done["text"]
        kinds = [event["type"] for event in client.of(done["message_id"]) if event["type"].startswith("tool.")]
        assert kinds == ["tool.started", "tool.finished"]
        assert lines(effects) == ["one"]
        (bridge,) = (await client.call("bridge.list"))["bridges"]
        assert bridge["connected"] is True and bridge["name"] == "laptop"
        assert bridge["servers"] == [{"name": "effects", "state": "ready", "tools": 2}]
        called = await client.call("tools.call", name="effects_append_line", arguments={"line": "two"})
        assert called["is_error"] is False and called["content"][0]["text"] == "appended two"
        again = [
            await client.call(
                "tools.call", name="effects_append_line", arguments={"line": "three"}, idempotency_key="k3"
            )
            for _ in range(2)
        ]
        assert again[0]["content"] == again[1]["content"] and lines(effects) == ["one", "two", "three"]
        async with Client(gateway.ws, BOB) as bob:
            assert not any(tool["source"] == "bridge" for tool in (await bob.call("tools.list"))["tools"])
            with pytest.raises(Refused) as refused:
                await bob.call("tools.call", name="effects_append_line", arguments={"line": "evil"})
            assert refused.value.code == 1003
            assert (await bob.call("bridge.list"))["bridges"] == []
    assert verify(tmp_path / "home" / "audit.jsonl").ok
    assert verify(tmp_path / "laptop" / "audit.jsonl").ok


async def test_asked_in_the_chat_and_answered(tmp_path: Path) -> None:
    async with house(tmp_path, policy={"default": "ask"}) as (gateway, _laptop, effects), Client(gateway.ws) as client:
        for decision, text in (("allow_once", "appended"), ("deny", "")):
            accepted = await client.call("chat.send_stream", text=f'use effects_append_line {{"line": "{decision}"}}')
            turn = accepted["message_id"]
            asked = (await client.until(lambda t=turn: client.of(t, "approval.requested")))[0]
            assert asked["session_key"] == accepted["session_key"] and asked["seq"] and asked["call_id"]
            assert asked["tool"] == "effects_append_line" and asked["arguments"] == {"line": decision}
            (listed,) = (await client.call("approval.list"))["approvals"]
            assert listed["approval_id"] == asked["approval_id"]
            approval = asked["approval_id"]
            assert (await client.call("approval.resolve", approval_id=approval, decision=decision)) == {
                "resolved": True
            }
            done = await client.end(turn)
            assert done["type"] == "chat.done" and text in done["text"]
            resolved = client.of(turn, "approval.resolved")[0]
            assert (resolved["decision"], resolved["by"]) == (decision, "alice")
        assert lines(effects) == ["allow_once"]
        # A bare call: the events go to the user's connections, without session and number.
        call = asyncio.create_task(
            client.call("tools.call", name="effects_append_line", arguments={"line": "bare"})
        )  # fmt: skip
        asked = await client.until(
            lambda: next((e for e in client.events if e["type"] == "approval.requested" and "seq" not in e), None)
        )
        assert "session_key" not in asked
        done = await client.ask(f"/approve {asked['approval_id']}")
        assert done["type"] == "chat.done"
        assert (await call)["is_error"] is False
        assert lines(effects) == ["allow_once", "bare"]


async def test_the_bridge_dies_while_a_person_is_asked(tmp_path: Path) -> None:
    """It asks on after its start, under the same id, and the call is done once."""
    async with house(tmp_path, policy={"default": "ask"}) as (gateway, laptop, effects), Client(gateway.ws) as client:
        accepted = await client.call("chat.send_stream", text='use effects_append_line {"line": "asked twice"}')
        turn = accepted["message_id"]
        (asked,) = await client.until(lambda: client.of(turn, "approval.requested"))
        await laptop.stop(signal.SIGKILL)
        laptop.start()
        await client.until(lambda: [event for event in client.events if event["type"] == "bridge.connected"])
        await client.call("approval.resolve", approval_id=asked["approval_id"], decision="allow_once")
        assert "appended asked twice" in (await client.end(turn))["text"]
        assert len(client.of(turn, "approval.requested")) == 1
        assert lines(effects) == ["asked twice"]


async def begin_slow(client: Client, effects: Path, line: str, seconds: float = 1.0) -> str:
    accepted = await client.call(
        "chat.send_stream", text=f'use effects_append_slowly {{"line": "{line}", "seconds": {seconds}}}'
    )
    async with asyncio.timeout(10):
        while line not in lines(effects):
            await asyncio.sleep(0.01)
    return str(accepted["message_id"])


async def finished(gateway: GatewayProcess, message_id: str) -> str:
    """The text of the answer in the history, once the turn has ended."""
    async with Client(gateway.ws) as client:
        async with asyncio.timeout(30):
            while True:
                key = "agent:main:websocket:direct:alice"
                history = (await client.call("chat.history", session_key=key))["messages"]
                for message in history:
                    if message["role"] == "assistant" and message["message_id"] == message_id and message["text"]:
                        return str(message["text"])
                await asyncio.sleep(0.1)


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_the_gateway_dies_in_the_middle_of_a_call(tmp_path: Path, how: str) -> None:
    """The bridge finishes meanwhile; the turn goes on after the restart with that very answer."""
    async with house(tmp_path) as (gateway, _laptop, effects):
        async with Client(gateway.ws) as client:
            turn = await begin_slow(client, effects, "once")
            await remembered(gateway.home, b"append_slowly")
            await (gateway.kill() if how == "kill" else gateway.stop())
        await gateway.start()
        assert "appended once" in await finished(gateway, turn)
        assert lines(effects) == ["once"]


async def test_the_bridge_dies_in_the_middle_of_a_call(tmp_path: Path) -> None:
    """Nobody knows whether it was done: that is said, and it is not done again."""
    async with house(tmp_path) as (gateway, laptop, effects), Client(gateway.ws) as client:
        turn = await begin_slow(client, effects, "perhaps", 5.0)
        await laptop.stop(signal.SIGKILL)
        laptop.start()
        done = await client.end(turn, 30)
        finished = client.of(turn, "tool.finished")[0]
        assert finished["is_error"] is True
        assert done["type"] == "chat.done"
        assert lines(effects) == ["perhaps"]


async def test_stop_reaches_the_bridge(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _laptop, effects), Client(gateway.ws) as client:
        turn = await begin_slow(client, effects, "long", 30.0)
        begun = asyncio.get_running_loop().time()
        assert (await client.call("chat.abort", message_id=turn))["aborted"]
        await client.end(turn)
        assert asyncio.get_running_loop().time() - begun < 1.0
        done = await client.ask('use effects_append_line {"line": "next"}')
        assert "appended next" in done["text"]


async def test_a_revoked_bridge_is_let_go(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, laptop, _effects), Client(gateway.ws) as client:
        (bridge,) = (await client.call("bridge.list"))["bridges"]
        assert await client.call("bridge.revoke", bridge_id=bridge["bridge_id"]) == {"revoked": True}
        assert laptop.process is not None
        assert await asyncio.to_thread(laptop.process.wait, 10) == 3
        assert "revoked" in laptop.output
        assert (await client.call("bridge.list"))["bridges"] == []
        kinds = {event["type"] for event in client.events}
        assert "bridge.disconnected" in kinds


async def test_a_clean_stop_says_goodbye_to_bridges(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, laptop, _effects):
        begun = asyncio.get_running_loop().time()
        assert await gateway.stop() == 0
        assert asyncio.get_running_loop().time() - begun < 10
        async with asyncio.timeout(5):
            while "gateway: waiting" not in laptop.output:
                await asyncio.sleep(0.02)
        assert "the gateway stops" in laptop.output or "restarting" in laptop.output, laptop.output
        assert laptop.process is not None and laptop.process.poll() is None
        await gateway.start()
        async with Client(gateway.ws) as client:
            await tools_there(client)

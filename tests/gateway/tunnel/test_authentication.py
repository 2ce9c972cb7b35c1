"""The first frame, and what is refused before anything else is read."""

import asyncio
import json
import time
from typing import Any

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from bus.events import BridgeConnected, BridgeDisconnected, ToolsChanged
from tests.fakes.raw_bridge import RawBridge
from tests.fakes.tunnel_rig import Caller, GatewayRig, tool_call, until


async def refused(gateway: GatewayRig, frame: str | bytes) -> tuple[list[dict[str, Any]], int]:
    """What is answered to a first frame, and the close code."""
    async with RawBridge(gateway.url) as bridge:
        await bridge.socket.send(frame)
        frames = []
        async with asyncio.timeout(5):
            try:
                while True:
                    frames.append(json.loads(await bridge.socket.recv()))
            except ConnectionClosed:
                pass
        return frames, bridge.socket.close_code or 0


async def test_the_answer_to_auth(gateway: GatewayRig) -> None:
    async with RawBridge(gateway.url) as bridge:
        payload = await bridge.auth(gateway.token())
        assert bridge.welcome["id"] == "a1"
        assert payload["ok"] is True and payload["bridge_id"] == "raw" and payload["session_id"]
        assert payload["heartbeat_ms"] == 15000 and isinstance(payload["epoch"], int)
        assert len(payload["sign_key"]) == 43
        assert payload["limits"] == {
            "max_frame_bytes": 4194304, "max_in_flight": 128, "window_bytes": 1048576, "max_result_bytes": 33554432
        }  # fmt: skip
        assert payload["forget"] == [] and payload["cancel"] == []


@pytest.mark.parametrize("path", ["/tunnel", "/v1/tunnel"])
async def test_a_bare_auth(gateway: GatewayRig, path: str) -> None:
    token = gateway.token()
    async with RawBridge(f"ws://127.0.0.1:{gateway.port}{path}") as bridge:
        await bridge.send(type="AUTH", token=token)
        payload = (await bridge.frame("AUTH"))["payload"]
        assert payload["ok"] is True
        assert payload["bridge_id"] == token.partition(".")[0]


@pytest.mark.attack(8)
@pytest.mark.parametrize(
    "token",
    ["", "  ", "gw_nobody.x", None, ["a"], 5, "é" * 40, "x" * 60_000, {"a": 1}, True],
    ids=lambda v: str(v)[:12],
)
async def test_a_token_that_is_worth_nothing(gateway: GatewayRig, token: Any) -> None:
    frames, code = await refused(gateway, json.dumps({"type": "AUTH", "token": token, "payload": {}}))
    assert code == 4501
    assert [frame["type"] for frame in frames] == ["ERROR"]
    assert frames[0]["payload"]["code"] == 1001 and frames[0]["payload"]["scope"] == "connection"


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ('{"type":"TOOLS","payload":{}}', 4501),
        ("not json", 4501),
        ("[]", 4501),
        (b"\x00\x01", 1003),
        ('{"type":"AUTH","token":"t","payload":{"x":"' + "a" * 65536 + '"}}', 1009),
        ('{"type":"AUTH","token":"t","payload":{"protocol":{"min":2,"max":3}}}', 4505),
        ('{"type":"AUTH","token":"t","payload":{"protocol":"new"}}', 4505),
    ],
)
async def test_a_first_frame_that_is_refused(gateway: GatewayRig, frame: str | bytes, code: int) -> None:
    frames, closed = await refused(gateway, frame)
    assert closed == code
    if code == 4505:
        assert frames[0]["payload"]["code"] == 1000


async def test_no_first_frame_in_time(gateway: GatewayRig) -> None:
    async with RawBridge(gateway.url) as bridge:
        assert await bridge.closed(2.0) == 4502


async def test_the_scope_tunnel_is_needed(gateway: GatewayRig) -> None:
    token = gateway.token("eve", "service")
    frames, code = await refused(gateway, json.dumps({"type": "AUTH", "token": token}))
    assert code == 4503 and frames[0]["payload"]["code"] == 1002


async def test_a_token_for_the_tunnel_alone_is_enough(gateway: GatewayRig) -> None:
    async with RawBridge(gateway.url) as bridge:
        assert (await bridge.auth(gateway.token(scopes=["tunnel"])))["ok"] is True


@pytest.mark.attack(38)
async def test_a_bridge_belongs_to_its_tokens_user(gateway: GatewayRig) -> None:
    async with RawBridge(gateway.url) as bridge:
        await bridge.auth(gateway.token("bob"), user="alice", user_id="alice", bridge_id="alices")
        await bridge.tools("fs_read")
        await until(lambda: bool(gateway.directory.bridges_of("bob")))
        assert gateway.directory.bridges_of("alice") == []
        assert (await gateway.directory.list_bridges("alice")) == []


@pytest.mark.attack(40)
@pytest.mark.parametrize(("boot", "code"), [("boot-2", 4509), ("boot-1", 1001)])
async def test_the_newest_connection_wins(gateway: GatewayRig, boot: str, code: int) -> None:
    token = gateway.token()
    async with RawBridge(gateway.url) as old, RawBridge(gateway.url) as new:
        first = await old.auth(token)
        second = await new.auth(token, boot_id=boot)
        assert await old.closed() == code
        assert second["epoch"] > first["epoch"] and second["sign_key"] != first["sign_key"]
        await new.tools("fs_read")
        await gateway.has_tools()
        assert [bridge["connected"] for bridge in await gateway.directory.list_bridges("alice")] == [True]


async def test_two_bare_connections_of_one_token(gateway: GatewayRig) -> None:
    token = gateway.token()
    async with RawBridge(gateway.url) as old, RawBridge(gateway.url) as new:
        await old.send(type="AUTH", token=token)
        await old.frame("AUTH")
        await new.send(type="AUTH", token=token)
        await new.frame("AUTH")
        assert await old.closed() == 4509


@pytest.mark.attack(12)
async def test_a_revoked_token_ends_the_tunnel_within_a_second(gateway: GatewayRig) -> None:
    token = gateway.token()
    async with RawBridge(gateway.url) as bridge:
        await bridge.auth(token)
        await bridge.tools("fs_add")
        await gateway.has_tools()
        caller = Caller(gateway)
        task = asyncio.create_task(caller.call(tool_call("fs_add", {"key": "a"})))
        await bridge.frame("MCP_REQUEST")
        start = asyncio.get_running_loop().time()
        gateway.tokens.revoke(token.partition(".")[0])
        goaway = await bridge.frame("GOAWAY")
        assert goaway["payload"]["reason"] == "revoked"
        assert await bridge.closed() == 4501
        assert asyncio.get_running_loop().time() - start < 1.0
        error = (await asyncio.gather(task, return_exceptions=True))[0]
        assert getattr(error, "code", None) == 2003 and getattr(error, "effect", None) == "unknown"


@pytest.mark.attack(12)
async def test_a_token_whose_time_is_over_ends_its_own_tunnel_and_no_other(gateway: GatewayRig) -> None:
    _, short = gateway.tokens.create("bob", "user", time.time(), ttl=0.6)
    async with RawBridge(gateway.url) as mine, RawBridge(gateway.url) as bobs:
        await mine.auth(gateway.token())
        await bobs.auth(short)
        goaway = await bobs.frame("GOAWAY")
        assert goaway["payload"]["reason"] == "revoked"
        assert await bobs.closed() == 4501
        await asyncio.sleep(0.3)  # the next look at the tokens
        await mine.tools("fs_add")
        await gateway.has_tools()
        gateway.tokens.revoke(next(iter(gateway.directory.bridges_of("alice"))).bearer.token_id)
        assert await mine.closed() == 4501


async def test_bridge_revoke_locks_out_and_the_token_with_it(gateway: GatewayRig) -> None:
    token = gateway.token(scopes=["tunnel"])
    async with RawBridge(gateway.url) as bridge:
        await bridge.auth(token)
        await bridge.tools("fs_add")
        await gateway.has_tools()
        assert await gateway.directory.revoke("raw", tool_call("x", {}).actor) is True
        assert await bridge.closed() == 4501
        assert await gateway.directory.list_bridges("alice") == []
        assert await gateway.guard.list_tools(tool_call("x", {}).actor) == []
    _, code = await refused(gateway, json.dumps({"type": "AUTH", "token": token}))
    assert code == 4501


async def test_a_token_is_rotated_on_the_live_link(gateway: GatewayRig) -> None:
    old, new, bobs = gateway.token(), gateway.token(), gateway.token("bob")
    async with RawBridge(gateway.url) as bridge:
        first = await bridge.auth(old)
        second = await bridge.auth(new)
        assert (second["epoch"], second["sign_key"]) == (first["epoch"], first["sign_key"])
        gateway.tokens.revoke(old.partition(".")[0])
        await asyncio.sleep(0.7)
        await bridge.tools("fs_add")
        await gateway.has_tools()
        await bridge.send(type="AUTH", token=bobs, payload={})
        assert (await bridge.frame("ERROR"))["payload"]["code"] == 1002
        assert await bridge.closed() == 4503
        assert gateway.directory.bridges_of("bob") == []


async def test_a_plain_get_is_told_what_this_is(gateway: GatewayRig) -> None:
    import aiohttp

    async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{gateway.port}/tunnel") as answer:
        assert answer.status == 426


async def test_what_people_are_told_of_their_bridges(gateway: GatewayRig) -> None:
    async with RawBridge(gateway.url) as bridge:
        await bridge.auth(gateway.token(), name="mei's laptop")
        await bridge.tools("fs_read", "fs_write")
        await gateway.has_tools()
        (shown,) = await gateway.directory.list_bridges("alice")
        assert shown["bridge_id"] == "raw" and shown["name"] == "mei's laptop" and shown["connected"] is True
        assert shown["servers"] == [{"name": "fs", "state": "ready", "tools": 2}]
        assert set(shown) == {"bridge_id", "name", "connected", "since", "servers", "latency_ms"}
        assert 0 < shown["latency_ms"] < 5000
    await until(lambda: isinstance(gateway.events[-1], BridgeDisconnected))
    kinds = [type(event) for event in gateway.events]
    assert kinds == [BridgeConnected, ToolsChanged, BridgeDisconnected]
    (shown,) = await gateway.directory.list_bridges("alice")
    assert shown["connected"] is False
    specs = await gateway.guard.list_tools(tool_call("x", {}).actor)
    assert [(spec.name, spec.available) for spec in specs] == [("fs_read", False), ("fs_write", False)]
    await gateway.restart()
    specs = await gateway.guard.list_tools(tool_call("x", {}).actor)
    assert [(spec.name, spec.available) for spec in specs] == [("fs_read", False), ("fs_write", False)]


async def test_too_many_half_open_sockets_do_no_harm(gateway: GatewayRig) -> None:
    sockets = [await connect(gateway.url, proxy=None, compression=None) for _ in range(50)]
    async with RawBridge(gateway.url) as bridge:
        assert (await bridge.auth(gateway.token()))["ok"] is True
    for socket in sockets:
        await socket.wait_closed()
        assert socket.close_code == 4502

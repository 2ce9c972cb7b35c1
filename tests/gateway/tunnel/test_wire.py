"""Frames after AUTH, against a bridge that shares no code with ours: calls, answers, chunks, and a bridge that lies."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from agent.ports.tools import Progress, ToolResult
from bridge.audit import verify
from bridge.protocol import Limits
from bus.errors import (
    BadParameters,
    GatewayError,
    IdempotencyConflict,
    NotFound,
    TimedOut,
    ToolResultInvalid,
    Unreachable,
)
from tests.fakes.raw_bridge import RawBridge, expected_signature
from tests.fakes.tunnel_rig import Caller, GatewayRig, actor, tool_call, until


@pytest.fixture
async def bridge(gateway: GatewayRig) -> AsyncIterator[RawBridge]:
    async with RawBridge(gateway.url) as raw:
        await raw.auth(gateway.token())
        await raw.tools("fs_read", "fs_write")
        await gateway.has_tools()
        yield raw


def start(gateway: GatewayRig, name: str = "fs_read", seconds: float = 5.0, **more: Any) -> "asyncio.Task[ToolResult]":
    caller = Caller(gateway)
    return asyncio.create_task(caller.call(tool_call(name, more.pop("arguments", {}), **more), seconds))


async def failure(task: "asyncio.Task[ToolResult]") -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        await task
    return caught.value


async def test_a_signed_request_and_its_answer(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway, arguments={"path": "/ä/b", "n": 3, "deep": [{"z": 1, "a": None}]}, key="mine")
    request = await bridge.frame("MCP_REQUEST")
    assert request["payload"]["method"] == "tools/call"
    assert request["payload"]["params"]["name"] == "fs_read"
    control = request["ctl"]
    assert control["idempotency_key"] == "mine" and control["attempt"] == 1
    assert control["epoch"] == bridge.welcome["payload"]["epoch"]
    assert control["actor"] == {"user": "alice", "channel": "websocket"}
    assert 4000 < control["deadline_ms"] <= 5000
    assert request["sig"] == expected_signature(bridge.welcome["payload"]["sign_key"], "raw", request)
    await bridge.answer(request, "hello")
    assert (await bridge.frame("ACK"))["payload"] == {"of": request["id"]}
    assert (await task).content == ({"type": "text", "text": "hello"},)


@pytest.mark.attack(40)
async def test_sent_again_on_the_next_connection(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    first = await bridge.frame("MCP_REQUEST")
    async with RawBridge(gateway.url) as again:
        await again.auth(gateway.token())
        second = await again.frame("MCP_REQUEST")
        assert second["id"] == first["id"]
        assert second["ctl"]["idempotency_key"] == first["ctl"]["idempotency_key"]
        assert second["ctl"]["attempt"] == 2 and second["ctl"]["epoch"] > first["ctl"]["epoch"]
        assert second["sig"] == expected_signature(again.welcome["payload"]["sign_key"], "raw", second)
        await again.answer(second)
        assert not (await task).is_error


@pytest.mark.attack(40)
async def test_a_call_the_bridge_lists_is_not_sent_again(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    async with RawBridge(gateway.url) as again:
        listed = [{"id": request["id"], "state": "running"}]
        answer = await again.auth(gateway.token(), in_flight=listed)
        assert answer["forget"] == [] and answer["cancel"] == []
        with pytest.raises(TimeoutError):
            await again.frame("MCP_REQUEST", 0.2)
        await again.answer(request)
        assert not (await task).is_error


@pytest.mark.attack(80)
async def test_forget_and_cancel_for_calls_nobody_awaits(gateway: GatewayRig, bridge: RawBridge) -> None:
    """One call was answered, one was given up: the bridge hears of both when it lists them."""
    done = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    await bridge.answer(request)
    await done
    left = start(gateway)
    other = await bridge.frame("MCP_REQUEST")
    left.cancel()
    await bridge.frame("CANCEL")
    async with RawBridge(gateway.url) as again:
        listed = [{"id": request["id"], "state": "done"}, {"id": other["id"], "state": "running"}]
        answer = await again.auth(gateway.token(), in_flight=listed)
        assert answer["forget"] == [request["id"]] and answer["cancel"] == [other["id"]]


@pytest.mark.attack(80)
async def test_a_bridge_that_is_away(gateway: GatewayRig, bridge: RawBridge) -> None:
    await bridge.socket.close()
    await until(lambda: not gateway.directory.bridges_of("alice")[0].connected)
    begun = asyncio.get_running_loop().time()
    error = await failure(start(gateway))
    assert isinstance(error, Unreachable) and error.effect == "none"
    assert asyncio.get_running_loop().time() - begun < 0.2


async def test_another_users_tool_does_not_exist(gateway: GatewayRig, bridge: RawBridge) -> None:
    assert isinstance(await failure(start(gateway, who=actor("bob"))), NotFound)
    assert await gateway.guard.list_tools(actor("bob")) == []


@pytest.mark.attack(80)
async def test_a_deadline_that_passes(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway, seconds=0.2)
    request = await bridge.frame("MCP_REQUEST")
    error = await failure(task)
    assert isinstance(error, TimedOut) and error.effect == "unknown"
    assert (await bridge.frame("CANCEL"))["id"] == request["id"]
    await bridge.answer(request)
    assert (await bridge.frame("ACK"))["payload"]["of"] == request["id"]


async def test_a_cancelled_call_reaches_the_bridge_at_once(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    begun = asyncio.get_running_loop().time()
    task.cancel()
    cancel = await bridge.frame("CANCEL")
    assert cancel["id"] == request["id"] and cancel["payload"]["reason"]
    assert asyncio.get_running_loop().time() - begun < 0.1


async def test_the_servers_error_is_a_result_with_is_error(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    error = {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "no such file"}}
    await bridge.send(type="MCP_RESPONSE", id=request["id"], payload=error)
    result = await task
    assert result.is_error and result.content[0]["text"] == "no such file"


async def test_an_error_of_the_bridge_keeps_code_and_effect(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    payload = {"code": 2006, "message": "gone", "scope": "call", "retryable": False, "effect": "unknown"}
    await bridge.send(type="ERROR", id=request["id"], payload=payload)
    assert (await bridge.frame("ACK"))["payload"]["of"] == request["id"]
    error = await failure(task)
    assert (error.code, error.effect, error.message) == (2006, "unknown", "gone")


@pytest.mark.parametrize(
    "payload", [{}, {"result": 5}, {"result": None, "error": None}, {"error": "x"}], ids=lambda value: str(value)
)
async def test_an_answer_that_is_none(gateway: GatewayRig, bridge: RawBridge, payload: Any) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    await bridge.send(type="MCP_RESPONSE", id=request["id"], payload=payload)
    error = await failure(task)
    assert isinstance(error, ToolResultInvalid) and error.effect == "done"


@pytest.mark.parametrize("number", [2**53, -(2**53), 2**64, 10**30])
async def test_integers_that_would_not_arrive(gateway: GatewayRig, bridge: RawBridge, number: int) -> None:
    error = await failure(start(gateway, arguments={"a": [number]}))
    assert isinstance(error, BadParameters)
    with pytest.raises(TimeoutError):
        await bridge.frame("MCP_REQUEST", 0.1)


async def test_the_same_key_twice_at_once_is_one_call(gateway: GatewayRig, bridge: RawBridge) -> None:
    first, second = start(gateway, key="same"), start(gateway, key="same")
    request = await bridge.frame("MCP_REQUEST")
    conflict = await failure(start(gateway, key="same", arguments={"other": 1}))
    assert isinstance(conflict, IdempotencyConflict)
    await bridge.answer(request)
    assert [result.is_error for result in await asyncio.gather(first, second)] == [False, False]
    with pytest.raises(TimeoutError):
        await bridge.frame("MCP_REQUEST", 0.1)


async def test_one_of_two_that_await_the_same_call_leaves(gateway: GatewayRig, bridge: RawBridge) -> None:
    first = start(gateway, key="same")
    await bridge.frame("MCP_REQUEST")
    second = start(gateway, key="same")  # joins the call that the first has made
    await asyncio.sleep(0.2)
    first.cancel()
    error = await failure(second)
    assert error.code == 1009
    third = start(gateway, key="other")
    request = await bridge.frame("MCP_REQUEST")
    fourth = start(gateway, key="other")
    await asyncio.sleep(0.2)
    fourth.cancel()
    await asyncio.sleep(0)
    await bridge.answer(request)
    assert not (await third).is_error


async def test_progress_reaches_the_caller(gateway: GatewayRig, bridge: RawBridge) -> None:
    caller = Caller(gateway)
    task = asyncio.create_task(caller.call(tool_call("fs_read", {})))
    request = await bridge.frame("MCP_REQUEST")
    progress = {"state": "running", "progress": 1, "total": 4, "message": "a"}
    await bridge.send(type="PROGRESS", id=request["id"], payload=progress)
    await bridge.send(type="PROGRESS", id=request["id"], payload={"state": "queued"})
    await bridge.answer(request)
    await task
    assert caller.updates == [Progress(progress=1, total=4, message="a")]


# ---------------------------------------------------------------- chunks


def response(request: dict[str, Any], text: str) -> str:
    result = {"content": [{"type": "text", "text": text}]}
    return json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}, ensure_ascii=False)


async def chunks(bridge: RawBridge, request: dict[str, Any], pieces: list[tuple[int, str]]) -> None:
    for index, (n, piece) in enumerate(pieces):
        payload = {"n": n, "last": index == len(pieces) - 1, "data": piece}
        await bridge.send(type="CHUNK", id=request["id"], payload=payload)


def cut(text: str, size: int) -> list[tuple[int, str]]:
    return [(n, text[at : at + size]) for n, at in enumerate(range(0, len(text), size))]


async def test_a_large_answer_in_chunks_under_credits(gateway: GatewayRig, bridge: RawBridge) -> None:
    """3 MB go over; the credit of the call is kept to, so windows must come."""
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    text = response(request, "x" * 3_000_000)
    credit, windows = 1024 * 1024, 0
    for n, piece in cut(text, 60_000):
        while credit < len(piece):
            window = await bridge.frame("WINDOW")
            if window.get("id") == request["id"]:
                credit += window["payload"]["credit"]
                windows += 1
        credit -= len(piece)
        last = (n + 1) * 60_000 >= len(text)
        await bridge.send(type="CHUNK", id=request["id"], payload={"n": n, "last": last, "data": piece})
    assert (await bridge.frame("ACK"))["payload"]["of"] == request["id"]
    assert len((await task).content[0]["text"]) == 3_000_000
    assert windows >= 2


async def test_a_piece_that_comes_twice_does_no_harm(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    pieces = cut(response(request, "é" * 100), 40)
    await chunks(bridge, request, [piece for piece in pieces[:-1] for _ in range(2)] + pieces[-1:])
    assert (await task).content[0]["text"] == "é" * 100


@pytest.mark.parametrize("numbers", [[1], [0, 2], [0, 1, 3]])
async def test_a_gap_is_2005(gateway: GatewayRig, bridge: RawBridge, numbers: list[int]) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    await chunks(bridge, request, [(number, "{") for number in numbers])
    error = await failure(task)
    assert isinstance(error, ToolResultInvalid) and error.effect == "done"
    told = await bridge.frame("ERROR")
    assert told["id"] == request["id"] and told["payload"]["code"] == 2005
    other = start(gateway)
    await bridge.answer(await bridge.frame("MCP_REQUEST"))
    await other


async def test_more_than_was_granted_is_2005(gateway: GatewayRig, bridge: RawBridge) -> None:
    task = start(gateway)
    request = await bridge.frame("MCP_REQUEST")
    await bridge.send(type="CHUNK", id=request["id"], payload={"n": 0, "last": False, "data": "x" * 1_048_577})
    assert isinstance(await failure(task), ToolResultInvalid)


@pytest.mark.attack(51)
async def test_more_than_max_result_bytes_is_2005(gateway: GatewayRig) -> None:
    gateway.limits = Limits(max_result_bytes=300_000)
    await gateway.restart()
    async with RawBridge(gateway.url) as bridge:
        assert (await bridge.auth(gateway.token()))["limits"]["max_result_bytes"] == 300_000
        await bridge.tools("fs_read")
        await gateway.has_tools()
        task = start(gateway)
        request = await bridge.frame("MCP_REQUEST")
        await chunks(bridge, request, cut(response(request, "x" * 400_000), 50_000))
        assert isinstance(await failure(task), ToolResultInvalid)
        task = start(gateway)
        await bridge.answer(await bridge.frame("MCP_REQUEST"), "y" * 300_000)
        assert isinstance(await failure(task), ToolResultInvalid)


# ---------------------------------------------------------------- frames that should not be


async def test_ping_and_unknown_types(gateway: GatewayRig, bridge: RawBridge) -> None:
    await bridge.send(type="PING", id="p1", payload={"t": 77})
    pong = await bridge.frame("PING")
    assert pong["payload"] == {"t": 77, "pong": True}
    await bridge.send(type="SOMETHING", payload={"a": 1}, extra=[1])
    await bridge.send(type="SOMETHING", must_understand=True)
    error = await bridge.frame("ERROR")
    assert error["payload"]["code"] == 1000 and "id" not in error


@pytest.mark.parametrize("text", ["{", "[]", '"x"', '{"type":5}', '{"type":"PING","payload":[]}', "[" * 5000, "{}"])
async def test_what_is_no_frame(gateway: GatewayRig, bridge: RawBridge, text: str) -> None:
    await bridge.socket.send(text)
    error = await bridge.frame("ERROR")
    assert error["payload"]["code"] == 1000
    task = start(gateway)
    await bridge.answer(await bridge.frame("MCP_REQUEST"))
    assert not (await task).is_error


async def test_a_binary_frame_closes(gateway: GatewayRig, bridge: RawBridge) -> None:
    await bridge.socket.send(b"{}")
    assert await bridge.closed() == 1003


async def test_a_frame_that_is_too_large_closes(gateway: GatewayRig, bridge: RawBridge) -> None:
    with contextlib.suppress(ConnectionClosed):
        await bridge.socket.send("x" * (4 * 1024 * 1024 + 1))
    assert await bridge.closed() == 1009


@pytest.mark.attack(38)
async def test_the_third_unknown_id_closes_and_is_audited(gateway: GatewayRig, bridge: RawBridge) -> None:
    """Answers to calls of somebody else: two are dropped, the third ends it."""
    async with RawBridge(gateway.url) as bobs:
        await bobs.auth(gateway.token("bob"), bridge_id="bobs")
        task = start(gateway)
        request = await bridge.frame("MCP_REQUEST")
        for call_id in ("c_never", request["id"], "c_guess"):
            payload = {"jsonrpc": "2.0", "id": call_id, "result": {"content": [{"type": "text", "text": "evil"}]}}
            await bobs.send(type="MCP_RESPONSE", id=call_id, payload=payload)
        assert await bobs.closed() == 4029
        await bridge.answer(request, "right")
        assert (await task).content[0]["text"] == "right"
    await until(lambda: (gateway.home / "audit.jsonl").read_text().count("tunnel.unknown_id") == 3)
    assert verify(gateway.home / "audit.jsonl").ok


@pytest.mark.quiet
@pytest.mark.attack(51)
async def test_a_flood_is_1005_then_4029_and_others_are_well(gateway: GatewayRig, bridge: RawBridge) -> None:
    """12,000 frames nobody asked for, while another bridge's calls are timed."""
    async with RawBridge(gateway.url) as flooder:
        await flooder.auth(gateway.token("bob"), bridge_id="bobs")

        async def flood() -> list[dict[str, Any]]:
            for number in range(12_000):
                if number % 20 == 0:
                    await asyncio.sleep(0)  # the flooder shares this process: it must not starve the canary itself
                try:
                    await flooder.send(type="PROGRESS", payload={"state": "running"})
                except Exception:  # the gateway has closed: that is the point
                    break
            frames = []
            try:
                while True:
                    frames.append(json.loads(await flooder.socket.recv()))
            except Exception:  # however it is closed: what came until then counts
                return frames

        task = asyncio.create_task(flood())
        times = []
        while not task.done():
            begun = asyncio.get_running_loop().time()
            canary = start(gateway)
            await bridge.answer(await bridge.frame("MCP_REQUEST"))
            await canary
            times.append(asyncio.get_running_loop().time() - begun)
        frames = await task
        assert flooder.socket.close_code == 4029
        assert [frame["payload"]["code"] for frame in frames if frame["type"] == "ERROR"] == [1005]
        assert len(times) > 3 and sorted(times)[len(times) // 2] < 0.5


async def test_two_bridges_with_the_same_tool(gateway: GatewayRig, bridge: RawBridge) -> None:
    async with RawBridge(gateway.url) as other:
        await other.auth(gateway.token(), bridge_id="raw-2", name="desk top")
        await other.tools("fs_read", "fs_only")
        await until(lambda: len(gateway.directory.bridges_of("alice")) == 2)
        await until(lambda: gateway.directory.bridges_of("alice")[1].tool_count == 2)
        names = [spec.name for spec in await gateway.guard.list_tools(actor())]
        assert names[:2] == ["fs_read", "fs_write"] and names[3] == "fs_only"
        assert names[2].startswith("desk_top_fs_read")
        task = start(gateway, names[2])
        request = await other.frame("MCP_REQUEST")
        assert request["payload"]["params"]["name"] == "fs_read"
        await other.answer(request, "from the desk")
        assert (await task).content[0]["text"] == "from the desk"
        # The name stays with the first bridge while it is away.
        await bridge.socket.close()
        await until(lambda: not gateway.directory.bridges_of("alice")[0].connected)
        assert isinstance(await failure(start(gateway, "fs_read")), Unreachable)
        # Until that one is revoked.
        await gateway.directory.revoke("raw", actor())
        await other.tools("fs_read", "fs_new")
        await until(lambda: any(b.spec("fs_new") for b in gateway.directory.bridges_of("alice")))
        names = [spec.name for spec in await gateway.guard.list_tools(actor())]
        assert "fs_new" in names


@pytest.mark.attack(50)
async def test_who_may_call_at_all(gateway: GatewayRig, bridge: RawBridge) -> None:
    error = await failure(start(gateway, who=actor(scopes=frozenset({"chat"}))))
    assert error.code == 1002


@pytest.mark.attack(80)
async def test_more_calls_than_fit_wait_their_turn(gateway: GatewayRig) -> None:
    gateway.limits = Limits(max_in_flight=2)
    await gateway.restart()
    async with RawBridge(gateway.url) as bridge:
        await bridge.auth(gateway.token())
        await bridge.tools("fs_read")
        await gateway.has_tools()
        tasks = [start(gateway, key=f"k{number}") for number in range(5)]
        keys = []
        first, second = await bridge.frame("MCP_REQUEST"), await bridge.frame("MCP_REQUEST")
        with pytest.raises(TimeoutError):
            await bridge.frame("MCP_REQUEST", 0.1)
        for request in (first, second):
            keys.append(request["ctl"]["idempotency_key"])
            await bridge.answer(request)
        for _ in range(3):
            request = await bridge.frame("MCP_REQUEST")
            keys.append(request["ctl"]["idempotency_key"])
            await bridge.answer(request)
        await asyncio.gather(*tasks)
        assert keys == [f"k{number}" for number in range(5)]


async def test_drain_is_announced(gateway: GatewayRig, bridge: RawBridge) -> None:
    gateway.directory.drain(2500)
    goaway = await bridge.frame("GOAWAY")
    assert goaway["payload"] == {"reason": "drain", "reconnect_after_ms": 2500}

"""A bridge written from the contract against a gateway that runs: what is signed, sent, asked, closed."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.contract2.peers import Peer, auth_payload, dial, raw_bridge, tool
from tests.e2e.gateway_process import ALICE, BOB, Client, GatewayProcess, Refused, gateway_process

VIEWER, SERVICE = "viewer-token-0123456789abcdef012345", "service-token-0123456789abcdef01234"


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[GatewayProcess]:
    tokens = [
        {"user": "alice", "role": "user", "token": ALICE},
        {"user": "bob", "role": "user", "token": BOB},
        {"user": "vera", "role": "viewer", "token": VIEWER},
        {"user": "sam", "role": "service", "token": SERVICE},
    ]
    async with gateway_process(tmp_path / "home", {"auth": {"tokens": tokens}, "limits": {"drain_seconds": 1}}) as g:
        yield g


def tunnel(gateway: GatewayProcess, path: str = "/v1/tunnel") -> str:
    return gateway.url.replace("http", "ws", 1) + path


async def listed(client: Client, name: str, available: bool = True) -> dict[str, Any]:
    async with asyncio.timeout(5):
        while True:
            for item in (await client.call("tools.list"))["tools"]:
                if item["name"] == name and item["available"] is available:
                    return dict(item)
            await asyncio.sleep(0.02)


async def test_first_frames(gateway: GatewayProcess) -> None:
    async with raw_bridge(tunnel(gateway), ALICE) as bridge:
        first = bridge.frames[0]
        assert first["id"] == "a1"
        auth = first["payload"]
        assert set(auth) == {
            "ok",
            "bridge_id",
            "session_id",
            "epoch",
            "heartbeat_ms",
            "sign_key",
            "limits",
            "forget",
            "cancel",
        }
        assert auth["ok"] is True and auth["heartbeat_ms"] == 15000 and auth["bridge_id"] == "desk-1"
        assert set(auth["limits"]) == {"max_frame_bytes", "max_in_flight", "window_bytes", "max_result_bytes"}
        assert auth["limits"]["max_result_bytes"] == 32 * 1024 * 1024
        assert auth["forget"] == [] and auth["cancel"] == []
        await bridge.send("PING", "p1", {"t": 123})
        assert (await bridge.nth("PING"))["payload"] == {"t": 123, "pong": True}
        # live AUTH keeps epoch and key
        await bridge.socket.send(
            json.dumps({"type": "AUTH", "id": "a2", "token": ALICE, "payload": auth_payload("desk-1")})
        )
        again = await bridge.nth("AUTH", 2)
        assert again["id"] == "a2"
        assert again["payload"]["epoch"] == auth["epoch"] and again["payload"]["sign_key"] == auth["sign_key"]
        await bridge.socket.send(json.dumps({"type": "AUTH", "token": ALICE}))
        third = await bridge.nth("AUTH", 3)
        assert third["payload"]["epoch"] == auth["epoch"] and third["payload"]["bridge_id"] == "desk-1"
        await bridge.send("NEWER", "n1", {})
        await bridge.send("NEWER", "n2", {}, must_understand=True)
        error = await bridge.nth("ERROR")
        assert error["payload"]["code"] == 1000 and error["payload"]["scope"] in ("call", "connection")
        assert set(error["payload"]) >= {"code", "message", "scope", "retryable", "effect"}
        await bridge.send("PING", None, {"t": 5, "new": 1}, another=True)
        await bridge.until(lambda: {"t": 5, "pong": True} in [f["payload"] for f in bridge.of("PING")])
    async with raw_bridge(tunnel(gateway, "/tunnel"), BOB, None) as bare, Client(gateway.ws, BOB) as bob:
        assert bare.auth["ok"] is True and bare.bridge_id
        (one,) = (await bob.call("bridge.list"))["bridges"]
        assert set(one) == {"bridge_id", "name", "connected", "since", "servers", "latency_ms"}
        assert one["bridge_id"] == bare.bridge_id and one["connected"] is True


@pytest.mark.parametrize(
    ("frame", "code", "close"),
    [
        ({"type": "AUTH", "token": "wrong"}, 1001, 4501),
        ({"type": "AUTH", "token": None}, 1001, 4501),
        ({"type": "AUTH"}, 1001, 4501),
        ({"type": "PING", "payload": {"t": 1}}, 1001, 4501),
        ("not json", 1001, 4501),
        ({"type": "AUTH", "token": ALICE, "payload": {"protocol": {"min": 2, "max": 3}}}, 1000, 4505),
        ({"type": "AUTH", "token": VIEWER}, 1002, 4503),
        ({"type": "AUTH", "token": SERVICE}, 1002, 4503),
        (b"binary", None, 1003),
        ({"type": "AUTH", "token": ALICE, "payload": {"x": "x" * 65536}}, None, 1009),
    ],
)
async def test_refused(gateway: GatewayProcess, frame: Any, code: int | None, close: int) -> None:
    peer = Peer(await dial(tunnel(gateway)))
    await peer.socket.send(json.dumps(frame) if isinstance(frame, dict) else frame)
    assert await peer.closed() == close
    if code is not None:
        (error,) = peer.of("ERROR")
        assert error["payload"]["code"] == code and error["payload"]["scope"] == "connection"
        assert error["payload"]["effect"] == "none"
    await peer.shut()


@pytest.mark.slow
async def test_too_late(gateway: GatewayProcess) -> None:
    peer = Peer(await dial(tunnel(gateway)))
    assert await peer.closed(12) == 4502
    await peer.shut()


async def test_call(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE) as bridge:
        connected = await alice.until(lambda: [e for e in alice.events if e["type"] == "bridge.connected"])
        assert connected[0]["bridge_id"] == "desk-1" and connected[0]["name"] == "desk" and "seq" not in connected[0]
        await bridge.offer(tool("raw_look"), tool("raw_write", annotations={"readOnlyHint": True}))
        shown = await listed(alice, "raw_look")
        assert shown["source"] == "bridge" and shown["bridge"] and shown["server"] == "raw"
        assert shown["policy"] == "allow" and shown["input_schema"] == {"type": "object"}
        await alice.until(lambda: [e for e in alice.events if e["type"] == "tools.changed"])
        (entry,) = (await alice.call("bridge.list"))["bridges"]
        assert entry["servers"] == [{"name": "raw", "state": "ready", "tools": 2}]

        arguments = {"b": "é\u2028\U0001f600", "a": [1, 2.5, 1e21, True, None], "\ufb33": 1, "\U0001f600": 2}
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_look", arguments=arguments))
        request = bridge.checked(await bridge.nth("MCP_REQUEST"))
        ctl = request["ctl"]
        assert set(ctl) - {"traceparent"} == {"deadline_ms", "idempotency_key", "attempt", "epoch", "actor"}
        assert ctl["actor"]["user"] == "alice" and ctl["actor"]["channel"] == "websocket"
        assert set(ctl["actor"]) <= {"user", "channel", "session_key"}
        assert ctl["attempt"] == 1 and ctl["epoch"] == bridge.auth["epoch"] and 100_000 < ctl["deadline_ms"] <= 120_000
        assert request["payload"]["jsonrpc"] == "2.0" and request["payload"]["method"] == "tools/call"
        assert request["payload"]["params"]["name"] == "raw_look"
        assert request["payload"]["params"]["arguments"] == arguments
        await bridge.send("PROGRESS", request["id"], {"state": "running", "progress": 1, "total": 2})
        await bridge.answer(request, "seen")
        result = await calling
        assert set(result) - {"structured_content"} == {"content", "is_error", "duration_ms"}
        assert result["content"] == [{"type": "text", "text": "seen"}] and result["is_error"] is False
        assert (await bridge.nth("ACK"))["payload"] == {"of": request["id"]}
        # once more: acknowledged and dropped
        await bridge.answer(request, "seen again")
        assert (await bridge.nth("ACK", 2))["payload"] == {"of": request["id"]}

        # an error of the server is a result
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_write", arguments={}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST", 2))
        await bridge.send(
            "MCP_RESPONSE",
            request["id"],
            {"jsonrpc": "2.0", "id": request["payload"]["id"], "error": {"code": -32602, "message": "no such line"}},
        )
        result = await calling
        assert result["is_error"] is True and "no such line" in json.dumps(result["content"])

        for n, (code, effect) in enumerate(
            [(2008, "none"), (2004, "none"), (2006, "unknown"), (1004, "unknown"), (2005, "done"), (1008, "none")]
        ):
            calling = asyncio.ensure_future(alice.call("tools.call", name="raw_write", arguments={"n": n}))
            request = bridge.checked(await bridge.nth("MCP_REQUEST", 3 + n))
            error = {"code": code, "message": "why", "scope": "call", "retryable": False, "effect": effect}
            await bridge.send("ERROR", request["id"], error)
            with pytest.raises(Refused) as refused:
                await calling
            assert refused.value.code == code, refused.value
            await bridge.until(lambda asked=request["id"]: {"of": asked} in [f["payload"] for f in bridge.of("ACK")])

        before = len(bridge.of("MCP_REQUEST"))
        for number in (2**53, -(2**53), 2**63, 2**64, 10**25):
            with pytest.raises(Refused) as refused:
                await asyncio.wait_for(
                    alice.call("tools.call", name="raw_look", arguments={"deep": [{"n": number}]}), 3
                )
            assert refused.value.code == 1000
        assert len(bridge.of("MCP_REQUEST")) == before
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_look", arguments={"n": 2**53 - 1}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST", before + 1))
        await bridge.answer(request, "ok")
        await calling
        async with Client(gateway.ws, BOB) as bob:
            with pytest.raises(Refused) as refused:
                await bob.call("tools.call", name="raw_look", arguments={})
            assert refused.value.code == 1003
    async with Client(gateway.ws) as alice:
        await listed(alice, "raw_look", available=False)
        (entry,) = (await alice.call("bridge.list"))["bridges"]
        assert entry["connected"] is False
        with pytest.raises(Refused) as refused:
            await asyncio.wait_for(alice.call("tools.call", name="raw_look", arguments={}), 1)
        assert refused.value.code == 2003


async def test_idempotency_and_reconnect(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice:
        async with raw_bridge(tunnel(gateway), ALICE) as one:
            await one.offer(tool("raw_look"))
            await listed(alice, "raw_look")
            first = asyncio.ensure_future(
                alice.call("tools.call", name="raw_look", arguments={"a": 1}, idempotency_key="K")
            )
            second = asyncio.ensure_future(alice.call("tools.call", name="raw_look", arguments={"b": 1}))
            a = one.checked(await one.nth("MCP_REQUEST", 1))
            b = one.checked(await one.nth("MCP_REQUEST", 2))
        in_flight = [{"id": b["id"], "state": "running"}]
        async with raw_bridge(tunnel(gateway), ALICE, in_flight=in_flight) as two:
            again = two.checked(await two.nth("MCP_REQUEST"))
            assert again["id"] == a["id"] and again["ctl"]["attempt"] == 2
            assert again["ctl"]["idempotency_key"] == a["ctl"]["idempotency_key"]
            assert two.auth["epoch"] > one.auth["epoch"] and two.auth["sign_key"] != one.auth["sign_key"]
            await two.answer(again, "A")
            await two.answer(b, "B")
            assert (await first)["content"][0]["text"] == "A"
            assert (await second)["content"][0]["text"] == "B"
            await two.until(lambda: {f["payload"]["of"] for f in two.of("ACK")} == {a["id"], b["id"]})
            assert len(two.of("MCP_REQUEST")) == 1
            same = await alice.call("tools.call", name="raw_look", arguments={"a": 1}, idempotency_key="K")
            assert same["content"][0]["text"] == "A" and len(two.of("MCP_REQUEST")) == 1
            with pytest.raises(Refused) as refused:
                await alice.call("tools.call", name="raw_look", arguments={"a": 2}, idempotency_key="K")
            assert refused.value.code == 1008
        # both are over: what the bridge still has is to be forgotten
        over = [{"id": a["id"], "state": "done"}, {"id": b["id"], "state": "running"}]
        async with raw_bridge(tunnel(gateway), ALICE, in_flight=over) as three:
            assert three.auth["forget"] == [a["id"]] and three.auth["cancel"] == [b["id"]]


async def test_newer_connection_wins(gateway: GatewayProcess) -> None:
    async with raw_bridge(tunnel(gateway), ALICE, boot_id="x") as one, raw_bridge(tunnel(gateway), ALICE, boot_id="x"):
        assert await one.closed() == 1001
        async with raw_bridge(tunnel(gateway), ALICE, boot_id="y") as three:
            assert three.auth["epoch"] > one.auth["epoch"]
    async with (
        raw_bridge(tunnel(gateway), ALICE, boot_id="x") as one,
        raw_bridge(tunnel(gateway), ALICE, boot_id="y") as two,
    ):
        assert await one.closed() == 4509
        goaway = one.of("GOAWAY")
        assert not goaway or goaway[0]["payload"]["reason"] == "replaced"
        async with raw_bridge(tunnel(gateway), BOB, boot_id="z") as other:
            await asyncio.sleep(0.1)
            assert two.close_code is None and other.close_code is None


async def test_strangers(gateway: GatewayProcess) -> None:
    async with raw_bridge(tunnel(gateway), ALICE) as bridge:
        for n in range(3):
            assert bridge.close_code is None
            await bridge.send("MCP_RESPONSE", f"never-{n}", {"jsonrpc": "2.0", "id": n, "result": {}})
        assert await bridge.closed() == 4029
    async with asyncio.timeout(2):
        while "never-2" not in (gateway.home / "audit.jsonl").read_text():
            await asyncio.sleep(0.02)


async def test_asked_in_chat(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE) as bridge:
        await bridge.offer(tool("raw_put", policy="ask"))
        await listed(alice, "raw_put")
        for n, decision in enumerate(("allow_once", "deny", "allow_always")):
            calling = asyncio.ensure_future(alice.call("tools.call", name="raw_put", arguments={"n": n}))
            request = bridge.checked(await bridge.nth("MCP_REQUEST", 1 + 2 * n))
            assert "confirm" not in request["ctl"]
            question = {
                "state": "awaiting_confirm",
                "challenge": f"ch{n}xyz",
                "risk": "write",
                "arguments": {"n": n},
                "expires_in_ms": 60000,
            }
            await bridge.send("PROGRESS", request["id"], question)
            asked = (
                await alice.until(lambda n=n: [e for e in alice.events if e["type"] == "approval.requested"][n : n + 1])
            )[0]
            assert asked["approval_id"] == f"ch{n}xyz" and asked["tool"] == "raw_put" and asked["risk"] == "write"
            assert asked["arguments"] == {"n": n} and asked["call_id"] and asked["expires_at"]
            assert "seq" not in asked and "session_key" not in asked
            (waiting,) = (await alice.call("approval.list"))["approvals"]
            assert {k: asked[k] for k in ("approval_id", "call_id", "tool", "arguments", "risk", "expires_at")} == {
                k: waiting[k] for k in ("approval_id", "call_id", "tool", "arguments", "risk", "expires_at")
            }
            async with Client(gateway.ws, BOB) as bob:
                with pytest.raises(Refused) as refused:
                    await bob.call("approval.resolve", approval_id=f"ch{n}xyz", decision="allow_once")
                assert refused.value.code in (1003, 1002)
            assert (await alice.call("approval.resolve", approval_id=f"ch{n}xyz", decision=decision))[
                "resolved"
            ] is True
            again = bridge.checked(await bridge.nth("MCP_REQUEST", 2 + 2 * n))
            assert again["id"] == request["id"] and again["ctl"]["attempt"] == 2
            confirm = again["ctl"]["confirm"]
            assert set(confirm) == {"challenge", "decision", "by", "at"}
            assert confirm["challenge"] == f"ch{n}xyz" and confirm["decision"] == decision and "alice" in confirm["by"]
            if decision == "deny":
                error = {"code": 2004, "message": "denied", "scope": "call", "retryable": False, "effect": "none"}
                await bridge.send("ERROR", request["id"], error)
                with pytest.raises(Refused) as refused:
                    await calling
                assert refused.value.code == 2004
            else:
                await bridge.answer(again, "put")
                assert (await calling)["content"][0]["text"] == "put"
            told = (
                await alice.until(lambda n=n: [e for e in alice.events if e["type"] == "approval.resolved"][n : n + 1])
            )[0]
            assert told["decision"] == decision and told["approval_id"] == f"ch{n}xyz" and told["by"]


async def test_local_only(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE) as bridge:
        await bridge.offer(tool("raw_put", policy="ask"))
        await listed(alice, "raw_put")
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_put", arguments={}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST"))
        question = {
            "state": "awaiting_confirm",
            "challenge": "loc",
            "risk": "write",
            "arguments": {},
            "expires_in_ms": 60000,
            "where": "bridge",
        }
        await bridge.send("PROGRESS", request["id"], question)
        asked = (await alice.until(lambda: [e for e in alice.events if e["type"] == "approval.requested"]))[0]
        assert asked["where"] == "bridge"
        with pytest.raises(Refused) as refused:
            await alice.call("approval.resolve", approval_id="loc", decision="allow_once")
        assert refused.value.code == 1002
        await bridge.send("PROGRESS", request["id"], {"state": "running"})
        await bridge.answer(request, "put")
        assert (await calling)["content"][0]["text"] == "put"
        assert len(bridge.of("MCP_REQUEST")) == 1
        assert (await alice.call("approval.list"))["approvals"] == []


async def test_elicitation(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE) as bridge:
        await bridge.offer(tool("raw_put"))
        await listed(alice, "raw_put")
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_put", arguments={}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST"))
        schema = {"type": "object", "properties": {"city": {"type": "string"}}}
        await bridge.send(
            "PROGRESS",
            request["id"],
            {
                "state": "awaiting_input",
                "question_id": "q1",
                "message": "Which city?",
                "schema": schema,
                "expires_in_ms": 60000,
            },
        )
        asked = (await alice.until(lambda: [e for e in alice.events if e["type"] == "question.requested"]))[0]
        assert asked["question_id"] == "q1" and asked["message"] == "Which city?" and asked["schema"] == schema
        await alice.call("question.answer", question_id="q1", action="accept", content={"city": "Rome"})
        again = bridge.checked(await bridge.nth("MCP_REQUEST", 2))
        assert again["ctl"]["answer"] == {"question_id": "q1", "action": "accept", "content": {"city": "Rome"}}
        await bridge.answer(again, "Rome it is")
        await calling


async def test_nobody_to_ask(gateway: GatewayProcess) -> None:
    made = await gateway.command("token", "create", "--user", "sam", "--role", "user", "--scope", "tunnel", "--json")
    own = json.loads(made[1])["token"]
    async with Client(gateway.ws, SERVICE) as sam, raw_bridge(tunnel(gateway), own) as bridge:
        await bridge.offer(tool("raw_put", policy="ask"))
        await listed(sam, "raw_put")
        calling = asyncio.ensure_future(sam.call("tools.call", name="raw_put", arguments={}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST"))
        question = {"state": "awaiting_confirm", "challenge": "c", "risk": "w", "arguments": {}, "expires_in_ms": 60000}
        await bridge.send("PROGRESS", request["id"], question)
        with pytest.raises(Refused) as refused:
            await calling
        assert refused.value.code == 2007
        assert (await bridge.nth("CANCEL"))["id"] == request["id"]


async def test_chunks(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE) as bridge:
        await bridge.offer(tool("raw_big"))
        await listed(alice, "raw_big")
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_big", arguments={}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST"))
        big = "ä" * 1_500_000
        text = json.dumps(
            {"jsonrpc": "2.0", "id": request["payload"]["id"], "result": {"content": [{"type": "text", "text": big}]}},
            ensure_ascii=False,
        )
        credit, sent_windows, at, n = 1 << 20, 0, 0, 0
        while at < len(text):
            piece = text[at : at + 60_000]
            size = len(piece.encode())
            while credit < size:
                await bridge.until(
                    lambda s=sent_windows: len([w for w in bridge.of("WINDOW") if w.get("id") == request["id"]]) > s
                )
                windows = [w for w in bridge.of("WINDOW") if w.get("id") == request["id"]]
                credit += sum(w["payload"]["credit"] for w in windows[sent_windows:])
                sent_windows = len(windows)
            credit -= size
            at += len(piece)
            await bridge.send("CHUNK", request["id"], {"n": n, "last": at >= len(text), "data": piece})
            n += 1
        await calling
        assert (await bridge.nth("ACK"))["payload"] == {"of": request["id"]}
        total = sum(w["payload"]["credit"] for w in bridge.of("WINDOW") if "id" not in w or w["id"] is None)
        assert total > 0
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_big", arguments={"gap": 1}))
        request = bridge.checked(await bridge.nth("MCP_REQUEST", 2))
        await bridge.send("CHUNK", request["id"], {"n": 0, "last": False, "data": "{"})
        await bridge.send("CHUNK", request["id"], {"n": 2, "last": True, "data": "}"})
        with pytest.raises(Refused) as refused:
            await calling
        assert refused.value.code == 2005


async def test_cancelled(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE) as bridge:
        await bridge.offer(tool("raw_slow"))
        await listed(alice, "raw_slow")
        accepted = await alice.call("chat.send_stream", text="use raw_slow {}")
        request = bridge.checked(await bridge.nth("MCP_REQUEST"))
        assert request["ctl"]["actor"]["session_key"].startswith("agent:main:websocket:direct:")
        await alice.call("chat.abort", message_id=accepted["message_id"])
        cancel = await bridge.nth("CANCEL")
        assert cancel["id"] == request["id"] and cancel["payload"]["reason"]
        error = {"code": 1009, "message": "cancelled", "scope": "call", "retryable": False, "effect": "unknown"}
        await bridge.send("ERROR", request["id"], error)
        assert (await bridge.nth("ACK"))["payload"] == {"of": request["id"]}


async def test_two_bridges(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE, "b1") as one:
        await one.offer(tool("fs_read", "fs"))
        await listed(alice, "fs_read")
        async with raw_bridge(tunnel(gateway), ALICE, "b2") as two:
            await two.offer(tool("fs_read", "fs"))
            async with asyncio.timeout(5):
                while (
                    len(
                        names := [
                            t["name"] for t in (await alice.call("tools.list"))["tools"] if t["source"] == "bridge"
                        ]
                    )
                    < 2
                ):
                    await asyncio.sleep(0.02)
            later = next(name for name in names if name != "fs_read")
            calling = asyncio.ensure_future(alice.call("tools.call", name=later, arguments={}))
            request = two.checked(await two.nth("MCP_REQUEST"))
            assert request["payload"]["params"]["name"] == "fs_read"
            await two.answer(request, "two")
            assert (await calling)["content"][0]["text"] == "two"
            assert later == "desk_fs_read" or later == "b2_fs_read", later
        await listed(alice, later, available=False)
        assert (await alice.call("bridge.revoke", bridge_id="b2")) == {"revoked": True}


async def test_revoked(gateway: GatewayProcess) -> None:
    async with Client(gateway.ws) as alice, raw_bridge(tunnel(gateway), ALICE, "b1") as bridge:
        await bridge.offer(tool("raw_slow"))
        await listed(alice, "raw_slow")
        calling = asyncio.ensure_future(alice.call("tools.call", name="raw_slow", arguments={}))
        await bridge.nth("MCP_REQUEST")
        assert (await alice.call("bridge.revoke", bridge_id="b1")) == {"revoked": True}
        assert await bridge.closed(1) == 4501
        assert bridge.of("GOAWAY")[0]["payload"]["reason"] == "revoked"
        with pytest.raises(Refused) as refused:
            await calling
        assert refused.value.code == 2003


async def test_token_revoked(gateway: GatewayProcess) -> None:
    code, out, _ = await gateway.command(
        "token", "create", "--user", "alice", "--role", "user", "--scope", "tunnel", "--name", "lap", "--json"
    )
    assert code == 0
    made = json.loads(out)
    assert set(made) == {"id", "token", "user", "role"}
    async with raw_bridge(tunnel(gateway), made["token"], None) as bridge, Client(gateway.ws) as alice:
        (entry,) = (await alice.call("bridge.list"))["bridges"]
        assert entry["name"] == "lap", entry
        code, _, error = await gateway.command("token", "revoke", made["id"])
        assert code == 0, error
        assert await bridge.closed(1) == 4501
        assert bridge.of("GOAWAY")[0]["payload"]["reason"] == "revoked"


async def test_drain(gateway: GatewayProcess) -> None:
    async with raw_bridge(tunnel(gateway), ALICE) as bridge:
        stopping = asyncio.ensure_future(gateway.stop())
        goaway = await bridge.nth("GOAWAY")
        assert goaway["payload"]["reason"] == "drain" and goaway["payload"]["reconnect_after_ms"] >= 0
        assert await bridge.closed() in (1001, 1012)
        assert await stopping == 0

"""JSON-RPC over the socket: what the specification shows, what bad input gets, and that the line stays usable."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.gateway.edge.harness import Running, running


@pytest_asyncio.fixture(scope="function")
async def gateway(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as found:
        yield found


@pytest.mark.attack(17)
async def test_garbage_is_a_parse_error_and_the_connection_stays_usable(gateway: Running) -> None:
    async with gateway.client() as wire:
        for text in ("{", "", '{"a":NaN}', "[" * 100_000, "1" * 5000, "\ufeff{}"):
            await wire.send(text)
            answer = await wire.frame()
            assert (answer["id"], answer["error"]["code"]) == (None, -32700)
            assert (await wire.call("health"))["status"] == "ok"
        for _ in range(10):
            await wire.send("{")
        assert await wire.close_code() == 4029
        assert len(wire.frames) == 10


@pytest.mark.attack(18)
async def test_wrong_envelopes(gateway: Running) -> None:
    async with gateway.client() as wire:
        for item in ({"id": 5, "method": "health"}, {"jsonrpc": "1.0", "id": 5, "method": "health"},
                     {"jsonrpc": "2.0", "id": 5, "method": 1, "params": "bar"},
                     {"jsonrpc": "2.0", "id": 5, "method": "health", "params": "x"}):  # fmt: skip
            await wire.send(item)
            answer = await wire.frame()
            assert (answer["id"], answer["error"]["code"]) == (5, -32600)
        await wire.send("5")
        assert (await wire.frame())["error"]["code"] == -32600
        await wire.send({"jsonrpc": "2.0", "method": "health"})
        await wire.send({"jsonrpc": "2.0", "method": "no.such"})
        assert (await wire.call("health"))["status"] == "ok"
        assert wire.frames == []


@pytest.mark.attack(19)
async def test_batches(gateway: Running) -> None:
    one = {"jsonrpc": "2.0", "method": "health", "id": 1}
    async with gateway.client() as wire:
        await wire.send([])
        assert (await wire.frame())["error"]["code"] == -32600
        await wire.send([one, {"foo": "boo"}, {"jsonrpc": "2.0", "method": "health"}, one | {"id": "2"}, [one]])
        answers = await wire.frame()
        assert [(a["id"], a.get("error", {}).get("code")) for a in answers] == [
            (1, None), (None, -32600), ("2", None), (None, -32600),
        ]  # fmt: skip
        await wire.send([{"jsonrpc": "2.0", "method": "health"}] * 3)
        await wire.send([one | {"id": number} for number in range(51)])
        assert (await wire.frame())["error"]["code"] == -32600
        await wire.send([one | {"id": number} for number in range(50)])
        assert len(await wire.frame()) == 50
        assert wire.frames == []


@pytest.mark.attack(20)
async def test_unknown_methods_and_params(gateway: Running) -> None:
    async with gateway.client() as wire:
        for name in ("nope", "__class__", "rpc.x", "_call", "chat.send.__init__", "chat", "table", "chat.SEND", " "):
            assert await wire.code(name) == -32601
        assert await wire.code("health", verbose=True) == -32602
        assert await wire.code("chat.send") == -32602
        assert await wire.code("chat.send", text=5) == -32602
        assert await wire.code("chat.send", text="") == -32602
        assert await wire.code("chat.send", text="x", role="owner") == -32602
        assert await wire.code("chat.history", session_key="x", limit="50") == -32602
        assert await wire.code("chat.history", session_key="x", limit=True) == -32602
        assert await wire.code("chat.abort") == -32602
        refused = await wire.ask("chat.send", text="x", secret_thing="hunter2")
        assert "hunter2" not in json.dumps(refused)
        await wire.send({"jsonrpc": "2.0", "id": 90, "method": "session.list", "params": [1, None]})
        assert (await wire.frame())["result"]["sessions"] == []
        await wire.send({"jsonrpc": "2.0", "id": 91, "method": "health", "params": [1]})
        assert (await wire.frame())["error"]["code"] == -32602
        await wire.send('{"jsonrpc":"2.0","id":92,"method":"nope","method":"health"}')
        assert (await wire.frame())["result"]["status"] == "ok"


@pytest.mark.attack(21)
async def test_ids(gateway: Running) -> None:
    async with gateway.client() as wire, gateway.client("bob") as other:
        for text in ("true", "1.0", "{}", "[]", json.dumps("x" * 900_000)):
            await wire.send('{"jsonrpc":"2.0","method":"health","id":' + text + "}")
            answer = await wire.frame()
            assert (answer["id"], answer["error"]["code"]) == (None, -32600)
        slow = {"jsonrpc": "2.0", "id": 0, "method": "chat.send", "params": {"text": "count to 30"}}
        await wire.send(slow)
        await wire.send({"jsonrpc": "2.0", "id": 0, "method": "health"})
        assert (await wire.frame())["error"]["code"] == -32600
        await other.send({"jsonrpc": "2.0", "id": 0, "method": "health"})
        assert (await other.frame())["result"]["status"] == "ok"
        await wire.send({"jsonrpc": "2.0", "id": "0", "method": "health"})
        assert (await wire.frame())["id"] == "0"
        answer = await wire.frame()
        assert answer["id"] == 0 and "30" in answer["result"]["text"]
        await wire.send({"jsonrpc": "2.0", "id": None, "method": "health"})
        assert (await wire.frame())["result"]["status"] == "ok"


@pytest.mark.attack(22)
async def test_a_handler_that_breaks_costs_one_request(
    gateway: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise RuntimeError("/home/secret/path")

    monkeypatch.setattr("agent.sessions.jsonl_store.JsonlStore.search", broken)
    async with gateway.client() as wire:
        answer = await wire.ask("session.search", query="x")
        assert answer["error"]["code"] == -32603
        assert "secret" not in json.dumps(answer)
        trace = answer["error"]["data"]["trace_id"]
        assert len(trace) == 32
        assert (await wire.call("health"))["status"] == "ok"
    assert any("session.search failed" in record.getMessage() for record in caplog.records)


async def test_binary_frames_are_refused_with_1003(gateway: Running) -> None:
    async with gateway.client() as wire:
        await wire.send(b"{}")
        assert await wire.close_code() == 1003


@pytest.mark.attack(24)
async def test_a_mebibyte_is_taken_and_one_byte_more_is_1009(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        frame = {"jsonrpc": "2.0", "id": 1, "method": "health", "params": {"pad": ""}}
        size = len(json.dumps(frame))
        async with gateway.client() as wire:
            frame["params"] = {"pad": "x" * (1_048_576 - size)}
            assert len(json.dumps(frame)) == 1_048_576
            await wire.send(frame)
            assert (await wire.frame())["error"]["code"] == -32602
            frame["params"] = {"pad": "x" * (1_048_577 - size)}
            await wire.send(frame)
            assert await wire.close_code() == 1009
        async with gateway.client() as wire:
            await wire.socket.send(["x" * 60_000] * 18)
            assert await wire.close_code() == 1009


@pytest.mark.attack(32)
async def test_strange_text_is_kept_as_it_is_or_refused(gateway: Running) -> None:
    strange = "a\u2028b\u0085c\u202ed\u200be" + "e\u0301" * 1000 + "\u0000 end 你好 😀"
    async with gateway.client() as wire:
        await wire.send('{"jsonrpc":"2.0","id":1,"method":"chat.send","params":{"text":"\\ud800"}}')
        answer = await wire.frame()
        assert (answer["id"], answer["error"]["code"]) == (1, -32602)
        await wire.call("chat.send", text=strange, session_key="strange")
        history = await wire.call("chat.history", session_key="strange")
        assert history["messages"][0]["text"] == strange


async def test_bad_utf8_is_1007(gateway: Running) -> None:
    async with gateway.client() as wire:
        wire.socket.protocol.fragmentable = True
        async with asyncio.timeout(5):
            transport = wire.socket.transport
            transport.write(bytes([0x81, 0x82, 0, 0, 0, 0, 0xC3, 0x28]))
            assert await wire.close_code() == 1007


async def test_the_table_describes_itself(gateway: Running) -> None:
    async with gateway.client("eye") as wire:
        document = await wire.call("rpc.discover")
        names = {m["name"] for m in document["methods"]}
        assert document["openrpc"].startswith("1.")
        assert {"chat.send", "chat.send_stream", "session.subscribe", "token.create", "health", "connect"} <= names
        for name in names - {"health", "connect", "rpc.discover"}:
            assert await wire.code(name) != -32601

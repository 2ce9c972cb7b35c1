"""What the methods answer, from outside: a process, a socket, HTTP."""

import json
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.gateway_process import ALICE, Client, gateway_process


async def _rpc(url: str, method: str, **params: Any) -> tuple[int, Any, Any]:
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    async with (
        aiohttp.ClientSession() as http,
        http.post(url + "/api/v1/rpc", json=body, headers={"Authorization": f"Bearer {ALICE}"}) as response,
    ):
        return response.status, response.headers, await response.json()


async def test_a_repeat_gets_the_first_answer_whole_also_after_a_restart_and_over_http(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway:
        async with Client(gateway.ws) as alice:
            first = await alice.call("chat.send", text="what is 2*21", idempotency_key="once")
            command = await alice.call("chat.send", text="/status", idempotency_key="command")
            assert await alice.call("chat.send", text="what is 2*21", idempotency_key="once") == first
            told = (await alice.call("chat.history", session_key=first["session_key"]))["messages"]
        assert first["timestamp"] == next(m["timestamp"] for m in told if m["text"] == first["text"])
        await gateway.stop()
        await gateway.start()
        assert (await _rpc(gateway.url, "chat.send", text="what is 2*21", idempotency_key="once"))[2]["result"] == first
        assert (await _rpc(gateway.url, "chat.send", text="/status", idempotency_key="command"))[2]["result"] == command


async def test_a_lone_error_over_http_says_what_every_error_over_http_says(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home", {"limits": {"messages_per_minute": 1}}) as gateway:
        status, _, body = await _rpc(gateway.url, "chat.history", session_key="none")
        error = body["error"]
        assert status == 404 and error["code"] == 1003 and error["retryable"] is False
        assert error["trace_id"] == error["data"]["trace_id"] and body["id"] == 1
        assert (await _rpc(gateway.url, "chat.send", text="one"))[0] == 200
        status, headers, body = await _rpc(gateway.url, "chat.send_stream", text="two")
        assert status == 429 and body["error"]["retry_after_ms"] == body["error"]["data"]["retry_after_ms"]
        assert 0 < int(headers["Retry-After"]) <= 61


async def test_times_are_rfc_3339_or_null(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway:
        _, out, _ = await gateway.command("token", "list", "--json")
        tokens = json.loads(out)["tokens"]
        assert {token["id"]: token["created_at"] for token in tokens if token["kind"] == "static"} == {
            "static_0": None, "static_1": None,
        }  # fmt: skip
        assert all(token["created_at"].endswith("Z") for token in tokens if token["kind"] == "api")

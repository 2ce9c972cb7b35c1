"""HTTP requests that still wait when the gateway stops: each is answered in its route's form, and none is cut."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.edge.harness import bearer, running

EFFECTS = Path(__file__).parent.parent.parent / "fakes" / "effects_server.py"
pytestmark = pytest.mark.attack(83)


def request(method: str, number: int = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def stopped(
    tmp_path: Path, path: str, body: Any, *, hurry: bool = False, headers: dict[str, str] | None = None,
    tool: str = "",
) -> tuple[int, bytes, aiohttp.ClientResponse]:  # fmt: skip
    """Status, body and response of a request that was under way when the gateway was told to stop."""
    limits = {"drain_seconds": 60 if hurry else 0.2}
    servers = [{"name": "effects", "command": sys.executable, "args": [str(EFFECTS), str(tmp_path / "effects")]}]
    async with running(tmp_path, pace=0.05, limits=limits, mcp_servers=servers if tool else []) as gateway:
        while tool and tool not in str(await gateway.rpc("tools.list", "alice")):
            await asyncio.sleep(0.05)

        async def ask() -> tuple[int, bytes, aiohttp.ClientResponse]:
            given = {"data": body} if isinstance(body, aiohttp.FormData | aiohttp.MultipartWriter) else {"json": body}
            async with gateway.http.post(
                gateway.url + path, headers=bearer("alice") | (headers or {}), **given
            ) as response:
                return response.status, await response.read(), response

        asked = asyncio.ensure_future(ask())
        await asyncio.sleep(0.4)
        assert not asked.done()
        gateway.stop.asked.set()
        if hurry:
            await asyncio.sleep(0.1)
            gateway.stop.hurry.set()
        return await asyncio.wait_for(asked, 10)


@pytest.mark.parametrize("hurry", [False, True], ids=["the time was over", "a second signal"])
@pytest.mark.parametrize("key", [None, "once"])
async def test_a_message_whose_answer_is_awaited(tmp_path: Path, hurry: bool, key: str | None) -> None:
    params = {"text": "count to 400"} | ({"idempotency_key": key} if key else {})
    status, body, response = await stopped(tmp_path, "/api/v1/rpc", request("chat.send", 7, **params), hurry=hurry)
    answer = json.loads(body)
    assert (status, answer["id"], answer["error"]["code"]) == (503, 7, 1007)
    assert answer["error"]["data"]["retryable"] is (key is not None)  # without one, it would be said twice
    assert ("Retry-After" in response.headers) is (key is not None)


async def test_a_batch(tmp_path: Path) -> None:
    batch = [
        request("chat.send", 1, text="count to 400", session_key="a"),
        request("chat.send", 2, text="count to 400", session_key="b", idempotency_key="b"), {"jsonrpc": "1.0"},
        {"jsonrpc": "2.0", "method": "health"},
    ]  # fmt: skip
    status, body, _ = await stopped(tmp_path, "/api/v1/rpc", batch)
    answers = [(each["id"], each["error"]["code"], each["error"]["data"]["retryable"]) for each in json.loads(body)]
    assert (status, answers) == (200, [(1, 1007, False), (2, 1007, True), (None, -32600, False)])


async def test_a_stream_of_events_ends(tmp_path: Path) -> None:
    status, body, _ = await stopped(tmp_path, "/api/v1/rpc", request("chat.send_stream", text="count to 400"))
    assert status == 200 and b"chat.delta" in body and body.endswith(b"\n\n")


COMPLETION = {"model": "demo", "messages": [{"role": "user", "content": "count to 400"}]}


@pytest.mark.parametrize(
    ("headers", "retryable"),
    [({}, True), ({"X-Session-Key": "s"}, False), ({"X-Session-Key": "s", "Idempotency-Key": "k"}, True)],
    ids=["its own session", "a kept session", "a kept session and a key"],
)
async def test_a_completion(tmp_path: Path, headers: dict[str, str], retryable: bool) -> None:
    status, body, response = await stopped(tmp_path, "/v1/chat/completions", COMPLETION, headers=headers)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["retryable"]) == (503, 1007, retryable)
    assert ("Retry-After" in response.headers) is retryable


async def test_a_streamed_completion_says_why_it_ends(tmp_path: Path) -> None:
    status, body, _ = await stopped(tmp_path, "/v1/chat/completions", COMPLETION | {"stream": True})
    lines = [json.loads(line.removeprefix(b"data: ")) for line in body.splitlines() if line.startswith(b"data: ")]
    assert status == 200 and "chunk" in lines[0]["object"] and lines[-1]["error"]["code"] == 1007


async def test_an_upload_that_has_not_come_whole(tmp_path: Path) -> None:
    async def slowly() -> Any:
        yield b"some"
        await asyncio.sleep(60)

    form = aiohttp.FormData()
    form.add_field("file", slowly(), filename="a.txt", content_type="text/plain")
    status, body, response = await stopped(tmp_path, "/api/v1/media", form)
    error = json.loads(body)["error"]
    assert (status, error["code"], error["retryable"]) == (503, 1007, True) and "Retry-After" in response.headers
    assert list((tmp_path / "media").glob("**/*.part")) == []


async def test_a_tool_at_work(tmp_path: Path) -> None:
    arguments = {"line": "once", "seconds": 60}
    status, body, _ = await stopped(
        tmp_path,
        "/api/v1/rpc",
        request("tools.call", name="effects_append_slowly", arguments=arguments),
        tool="effects_append_slowly",
    )
    error = json.loads(body)["error"]
    assert (status, error["code"], error["data"]["retryable"]) == (503, 1007, False)
    assert (tmp_path / "effects").read_text() == "once\n"

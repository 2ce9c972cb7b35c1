"""The HTTP routes: state, RPC with its stream, files, and errors in their form."""

import asyncio
import io
import json
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.gateway.edge.harness import Running, bearer, head, plain, running, status_of


async def post(gateway: Running, path: str, body: Any, who: str | None = "alice") -> tuple[int, Any]:
    headers = bearer(who) if who else {}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with gateway.http.post(gateway.url + path, data=io.BytesIO(data), headers=headers) as response:
        text = await response.text()
        return response.status, json.loads(text) if text else None


async def test_state(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        async with gateway.http.get(gateway.url + "/health") as response:
            assert await response.json() == {"status": "ok"}
        async with gateway.http.get(gateway.url + "/ready") as response:
            assert response.status == 200
        await gateway.rpc("chat.send", "alice", text="hello")
        async with gateway.http.get(gateway.url + "/metrics") as response:
            text = await response.text()
            assert "# TYPE gateway_connections gauge" in text and "gateway_turns_total" in text
            assert "alice" not in text
        async with gateway.http.get(gateway.url + "/status", headers=bearer("boss")) as response:
            status = await response.json()
            assert {"version", "uptime_seconds", "connections", "channels", "bridges", "queues", "models"} <= set(
                status
            )
            assert status["channels"]["telegram"]["state"] == "off"


async def test_rpc_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        rpc = "/api/v1/rpc"
        ask: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "health"}
        status, answer = await post(gateway, rpc, ask)
        assert (status, answer["id"], answer["result"]["status"]) == (200, 1, "ok")
        status, answer = await post(
            gateway, rpc, [ask, ask | {"id": 2, "method": "nope"}, {"jsonrpc": "2.0", "method": "x"}]
        )
        assert (status, [a["id"] for a in answer]) == (200, [1, 2])
        assert await post(gateway, rpc, {"jsonrpc": "2.0", "method": "health"}) == (204, None)
        for body, expected in (
            (b"{", (400, -32700)), (b"[]", (400, -32600)), (b"1", (400, -32600)),
            (ask | {"method": "nope"}, (404, -32601)), (ask | {"params": {"x": 1}}, (400, -32602)),
            (ask | {"method": "token.list"}, (403, 1002)),
            (ask | {"method": "chat.history", "params": {"session_key": "none"}}, (404, 1003)),
            (ask | {"method": "session.subscribe", "params": {"session_key": "websocket:alice"}}, (400, -32602)),
        ):  # fmt: skip
            status, answer = await post(gateway, rpc, body)
            assert (status, answer["error"]["code"]) == expected, body
            assert set(answer["error"]["data"]) >= {"retryable", "trace_id"}
        status, answer = await post(gateway, rpc, ask, who=None)
        assert status == 401
        assert {"code", "message", "retryable", "trace_id"} <= set(answer["error"]) and answer["error"]["code"] == 1001
        status, answer = await post(gateway, rpc, b"x" * 1_048_577)
        assert (status, answer["error"]["code"]) == (413, 1006)
        status, answer = await post(gateway, rpc, ask | {"method": "chat.send", "params": {"text": "hello"}})
        assert status == 200 and answer["result"]["text"]
        async with gateway.http.get(gateway.url + rpc, headers=bearer("alice")) as response:
            assert response.status == 405 and response.headers["Allow"] == "POST"
            assert "error" in await response.json()
        async with gateway.http.get(gateway.url + "/ws") as response:
            assert response.status == 426 and response.headers["Upgrade"] == "websocket"


async def lines(response: aiohttp.ClientResponse) -> list[dict[str, Any]]:
    text = await response.text()
    return [json.loads(part[6:]) for part in text.split("\n") if part.startswith("data: ")]


async def test_a_stream_over_http(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        said = {"text": "count to 20", "idempotency_key": "k"}
        body = {"jsonrpc": "2.0", "id": "a", "method": "chat.send_stream", "params": said}
        stories = []
        for _ in range(2):
            async with gateway.http.post(gateway.url + "/api/v1/rpc", json=body, headers=bearer("alice")) as response:
                assert response.content_type == "text/event-stream"
                first, *events = await lines(response)
            assert first["id"] == "a"
            params = [e["params"] for e in events]
            assert [p["seq"] for p in params] == list(range(first["result"]["seq"] + 1, params[-1]["seq"] + 1))
            assert params[-1]["type"] == "chat.done"
            assert "".join(p.get("delta", "") for p in params) == params[-1]["text"]
            stories.append((first, params))
        assert stories[0] == stories[1]
        bad = body | {"params": {"text": "x", "session_key": "websocket:bob"}}
        async with gateway.http.post(gateway.url + "/api/v1/rpc", json=bad, headers=bearer("alice")) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (404, 1003)
        async with gateway.http.post(
            gateway.url + "/api/v1/rpc", json=body | {"params": {"text": "count to 300", "session_key": "s"}},
            headers=bearer("alice"),
        ) as response:  # fmt: skip
            await response.content.readany()
        async with asyncio.timeout(10):
            while True:
                history = (await gateway.rpc("chat.history", "alice", session_key="s"))["result"]["messages"]
                if len(history) == 2:
                    break
                await asyncio.sleep(0.05)
        assert "300" in history[1]["text"]


def form(data: bytes, name: str = "photo.png", mime: str = "image/png", field: str = "file") -> aiohttp.FormData:
    made = aiohttp.FormData()
    made.add_field(field, data, filename=name, content_type=mime)
    return made


@pytest.mark.attack(33)
@pytest.mark.attack(89)
async def test_files_belong_to_whoever_brought_them(tmp_path: Path) -> None:
    async with running(tmp_path, server={"max_media_bytes": 5000}) as gateway:
        url = gateway.url + "/api/v1/media"
        async with gateway.http.post(
            url, data=form(b"<script>", "../../x.html", "text/html"), headers=bearer("alice")
        ) as r:
            kept = await r.json()
        assert r.status == 200 and set(kept) == {"media_id", "mime", "size", "name"}
        assert (kept["name"], kept["mime"], kept["size"]) == ("x.html", "text/html", 8)
        async with gateway.http.get(f"{url}/{kept['media_id']}", headers=bearer("alice")) as r:
            assert await r.read() == b"<script>"
            assert r.headers["Content-Disposition"].startswith("attachment")
            assert r.headers["X-Content-Type-Options"] == "nosniff"
        async with gateway.http.get(
            f"{url}/{kept['media_id']}", headers=bearer("alice") | {"Range": "bytes=" + ",".join(["0-0"] * 1000)}
        ) as r:
            assert r.status == 200
        for who in ("bob", "root"):
            async with gateway.http.get(f"{url}/{kept['media_id']}", headers=bearer(who)) as r:
                assert (r.status, (await r.json())["error"]["code"]) == (404, 1003)
            answer = await gateway.rpc("chat.send", who, text="x", media=[{"media_id": kept["media_id"]}])
            assert answer["error"]["code"] == 1003
        for name in ("../salt", "..%2f..%2fadmin.token", "%2e%2e/%2e%2e/admin.token", "salt", "med_" + "0" * 40,
                     "\\\\host\\share", kept["media_id"] + ".json"):  # fmt: skip
            raw = f"GET /api/v1/media/{name} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
            raw += f"Authorization: {bearer('alice')['Authorization']}\r\n\r\n"
            assert status_of(await plain(gateway.port, raw.encode())) == 404, name
        planted = tmp_path / "media" / kept["media_id"][4:6] / kept["media_id"]
        planted.unlink()
        planted.symlink_to(tmp_path / "admin.token")
        async with gateway.http.get(f"{url}/{kept['media_id']}", headers=bearer("alice")) as r:
            assert r.status == 404
        for data, status in ((form(b"x" * 5001), 413), (form(b"x", field="other"), 400), ({"a": "b"}, 400)):
            async with gateway.http.post(url, data=data, headers=bearer("alice")) as r:
                assert r.status == status
        many = form(b"x")
        for number in range(1000):
            many.add_field(f"f{number}", b"y", filename="y")
        async with gateway.http.post(url, data=many, headers=bearer("alice")) as r:
            assert r.status in (400, 413)
        async with gateway.http.post(url, data=form(b"x"), headers=bearer("eye")) as r:
            assert r.status == 403


async def test_media_goes_with_a_message_and_a_repeat_stays_the_same_message(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client() as wire, gateway.client() as other:
        await other.call("session.subscribe", session_key="websocket:alice")
        said = {
            "text": "look",
            "media": [{"data": "aGVsbG8=", "mime": "text/plain", "name": "a.txt"}],
            "idempotency_key": "k",
        }
        first = await wire.call("chat.send_stream", **said)
        assert await wire.call("chat.send_stream", **said) == first
        await wire.done(first["message_id"])
        told = await other.event("chat.message")
        assert [m["name"] for m in told["media"]] == ["a.txt"]
        for bad in (
            [{"data": "###"}], [{}], [{"media_id": "x", "data": "aGk="}], [{"data": "aGk=", "mime": "nonsense"}],
            [{"data": "aGk=", "path": "/etc/passwd"}], [{"data": "aGk="}] * 21,
        ):  # fmt: skip
            assert await wire.code("chat.send", text="x", media=bad) == -32602, bad
        assert await wire.code("chat.send", text="x", media=[{"media_id": "med_none"}]) == 1003
        assert await wire.code("chat.send", text="", media=[{"data": "aGk="}]) == 0


@pytest.mark.attack(27)
async def test_slow_and_swollen_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.http.exchange.read_body.__defaults__", (0.4,))
    async with running(tmp_path) as gateway:
        begun = "POST /api/v1/rpc HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\nConnection: close\r\n"
        begun += f"Authorization: {bearer('alice')['Authorization']}\r\n\r\n{{"
        assert status_of(await head(gateway.port, begun.encode())) == 408
        swollen = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        swollen += "".join(f"X-{n}: y\r\n" for n in range(10_000)) + "\r\n"
        assert status_of(await head(gateway.port, swollen.encode())) in (400, 431)
        long = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + "y" * 100_000 + "\r\n\r\n"
        assert status_of(await head(gateway.port, long.encode())) in (400, 431)
        assert status_of(await head(gateway.port, b"NONSENSE\r\n\r\n")) == 400
        huge = begun.replace("Content-Length: 1000", "Content-Length: 99999999999")
        assert status_of(await head(gateway.port, huge.encode())) == 413
        async with gateway.http.get(gateway.url + "/health") as response:
            assert response.status == 200


@pytest.mark.attack(2)
async def test_the_chat_page_uses_only_its_own_origin(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        async with gateway.http.get(gateway.url + "/") as response:
            assert response.headers["Cache-Control"] == "no-cache"
            page = await response.text()
        names = re.findall(r'(?:src|href)="([^"]*)"', page)
        assert len(names) == 3 and all(
            re.fullmatch(r"/static/[a-z]+-[0-9a-f]{12}\.(js|css|svg)", name) for name in names
        )
        kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
        for name in names:
            async with gateway.http.get(gateway.url + name, headers={"Accept-Encoding": "gzip"}) as response:
                assert response.status == 200 and response.headers["Content-Encoding"] == "gzip"
                assert response.headers["Content-Type"] == kinds[name.rpartition(".")[2]] + "; charset=utf-8"
                assert "immutable" in response.headers["Cache-Control"]
                squeezed = await response.text()
            async with gateway.http.get(gateway.url + name, headers={"Accept-Encoding": "identity"}) as response:
                assert "Content-Encoding" not in response.headers and await response.text() == squeezed


async def test_webhooks_that_are_not_configured_are_not_there(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for name in ("telegram", "feishu", "discord", "nothing"):
            status, answer = await post(gateway, f"/webhooks/{name}", {}, who=None)
            assert (status, answer["error"]["code"]) == (404, 1003)

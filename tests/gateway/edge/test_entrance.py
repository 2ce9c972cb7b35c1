"""The entrance: Host, Origin, tokens and where they may travel, and who gets in."""

import asyncio
import base64
import contextlib
import json
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import websockets
from websockets.exceptions import InvalidStatus

from gateway.guard import Places
from tests.gateway.edge.harness import TOKENS, Running, bearer, head, plain, running, status_of

UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: " + base64.b64encode(b"0123456789abcdef").decode() + "\r\n{more}\r\n"
)


async def upgrade(gateway: Running, host: str | None = None, more: str = "") -> int:
    text = UPGRADE.format(host=host or f"127.0.0.1:{gateway.port}", more=more)
    return status_of(await head(gateway.port, text.encode()))


@pytest.mark.attack(1)
async def test_a_token_in_the_url_is_401_everywhere_and_never_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with running(tmp_path) as gateway:
        for path in ("/ws", "/", "/health", "/status", "/api/v1/rpc", "/v1/models", "/metrics"):
            for name in ("token", "access_token", "Authorization", "api_key"):
                query = f"{path}?{name}={TOKENS['alice']}"
                async with gateway.http.get(gateway.url + query) as response:
                    assert response.status == 401
                    assert (await response.json())["error"]["code"] == 1001
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(f"{gateway.ws}?token={TOKENS['alice']}", proxy=None)
        assert refused.value.response.status_code == 401
    ours = [r.getMessage() for r in caplog.records if not r.name.startswith("websockets")]
    assert TOKENS["alice"] not in "\n".join(ours)


@pytest.mark.attack(3)
async def test_a_foreign_origin_is_refused_before_the_upgrade(tmp_path: Path) -> None:
    async with running(tmp_path, server={"allowed_origins": ["https://chat.example"]}) as gateway:
        own = f"http://127.0.0.1:{gateway.port}"
        for origin in ("http://evil.example", "null", own + ".evil", f"http://127.0.0.1:{gateway.port + 1}",
                       f"https://127.0.0.1:{gateway.port}", "http://127.0.0.1", own + "/", "", "http://chat.example",
                       "https://chat.example.evil", "https://chat.example:444"):  # fmt: skip
            more = f"Origin: {origin}\r\nAuthorization: Bearer {TOKENS['alice']}\r\n"
            assert await upgrade(gateway, more=more) == 403, origin
        assert await upgrade(gateway, more=f"Origin: {own}\r\n") == 101
        assert await upgrade(gateway, more="Origin: https://chat.example\r\n") == 101
        assert await upgrade(gateway, more=f"Authorization: Bearer {TOKENS['alice']}\r\n") == 101


@pytest.mark.attack(4)
async def test_another_name_in_host_is_refused_on_every_route(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for path in ("/", "/health", "/ready", "/metrics", "/status", "/v1/models", "/api/v1/media/x", "/ws", "/none"):
            get = f"GET {path} HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
            assert status_of(await plain(gateway.port, get.encode())) == 403
            two = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n"
            assert status_of(await plain(gateway.port, two.encode())) == 400
        assert await upgrade(gateway, host="evil.example") == 403
        assert await upgrade(gateway, host=f"localhost:{gateway.port}") == 101
        assert await upgrade(gateway, host="127.0.0.1.evil.example") == 403


@pytest.mark.attack(5)
async def test_without_credentials_only_what_is_open_answers(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        is_open = {"/": 200, "/health": 200, "/ready": 200, "/metrics": 200, "/static/licences.txt": 200}
        closed = {"/status": 401, "/v1/models": 401, "/api/v1/media/x": 401, "/nothing": 404, "/static/../app.py": 404}
        for path, status in (is_open | closed).items():
            async with gateway.http.get(gateway.url + path) as response:
                assert response.status == status, path
        for path in ("/api/v1/rpc", "/v1/chat/completions", "/api/v1/media"):
            async with gateway.http.post(gateway.url + path, data=b"{}") as response:
                assert response.status == 401, path
                assert (await response.json())["error"]["code"] == 1001
        async with gateway.http.post(gateway.url + "/api/v1/login", json={"code": "guess"}) as response:
            assert response.status == 401
        async with gateway.http.get(gateway.url + "/metrics", headers={"X-Forwarded-For": "127.0.0.1"}) as response:
            assert response.status == 401


@pytest.mark.attack(6)
async def test_before_authentication_every_method_is_1001_and_three_close_4501(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        async with gateway.client(None) as wire:
            assert (await wire.call("health")) == {"status": "ok"}
            await wire.send([{"jsonrpc": "2.0", "id": 1, "method": "health"}])
            assert (await wire.frame())[0]["result"] == {"status": "ok"}
            assert await wire.code("chat.send", nonsense=1) == 1001
            assert await wire.code("no.such.method") == 1001
            assert await wire.code("token.list") == 1001
            assert await wire.close_code() == 4501
        async with gateway.client(None) as wire:
            answer = await wire.call("connect", token=TOKENS["alice"])
            assert answer["protocol"] == 1
            assert (answer["user"], answer["role"]) == ("alice", "user")
            assert sorted(answer["scopes"]) == ["approve", "chat", "tools", "tunnel"]
            assert answer["server"]["name"] and answer["server"]["version"] and answer["limits"]
            assert await wire.code("connect", token=TOKENS["bob"]) == -32600
            assert (await wire.call("connect", token=TOKENS["alice"]))["user"] == "alice"
            assert (await wire.call("connect"))["user"] == "alice"
            assert await wire.code("connect", token="wrong") == 1001
            assert (await wire.call("identity.list")) == {"identities": []}


@pytest.mark.attack(6)
async def test_no_method_at_all_is_there_before_authentication(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        methods = [each["name"] for each in (await gateway.rpc("rpc.discover"))["result"]["methods"]]
        assert len(methods) > 40
        closed = sorted({*methods} - {"connect", "health"})
        for first, second in zip(closed, [*closed[1:], closed[0]], strict=True):
            async with gateway.client(None) as wire:
                assert [await wire.code(first), await wire.code(second, nonsense=1)] == [1001, 1001], (first, second)
                assert (await wire.call("health")) == {"status": "ok"}  # and nothing more


@pytest.mark.attack(6)
async def test_requests_sent_right_after_connect_find_the_connection_authenticated(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client(None) as wire:
        for number, (method, params) in enumerate(
            [("connect", {"token": TOKENS["alice"]}), ("session.list", {}), ("identity.list", {})]
        ):
            await wire.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        answers = [await wire.frame() for _ in range(3)]
        assert all("result" in answer for answer in answers)


@pytest.mark.attack(7)
async def test_what_a_client_says_about_itself_is_ignored(tmp_path: Path) -> None:
    claims = {"X-Forwarded-User": "root", "X-Forwarded-For": "10.0.0.1", "X-User": "root", "X-Role": "owner"}
    async with running(tmp_path) as gateway, gateway.client("alice", additional_headers=claims) as wire:
        await wire.send(
            {"jsonrpc": "2.0", "id": 1, "method": "token.list", "params": {}, "role": "owner", "user": "root"}
        )
        assert (await wire.frame())["error"]["code"] == 1002
        for extra in ("role", "scopes", "user", "user_id"):
            assert await wire.code("connect", token=TOKENS["alice"], **{extra: "root"}) == -32602
        assert (await wire.call("connect"))["role"] == "user"


@pytest.mark.attack(8)
@pytest.mark.attack(15)
@pytest.mark.parametrize(
    "token",
    ["", "   ", "wrong", None, [], {}, 5, True, "x" * 1_000_000, "пароль", "gw_000000000000.\ud83d\ude00",
     "' OR 1=1 --", "a\u0000b", "line\nbreak", "%s%n", "\u001b[31mred"],
)  # fmt: skip
async def test_a_worthless_token_is_1001_whatever_it_is(
    tmp_path: Path, token: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(tmp_path) as gateway, gateway.client(None) as wire:
        assert await wire.code("connect", token=token) == 1001
        assert await wire.code("connect", token=token) == 1001
        assert await wire.code("connect", token=token) == 1001
        assert await wire.close_code() == 4501
    assert "\x1b" not in caplog.text


@pytest.mark.attack(8)
async def test_a_worthless_header_is_401_before_the_upgrade(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for value in (
            "Bearer wrong",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "wrong",
            "Bearer " + "x" * 4000,
            "Bearer \xe9",
        ):
            assert await upgrade(gateway, more=f"Authorization: {value}\r\n") == 401, value


@pytest.mark.attack(25)
async def test_who_never_authenticates_is_closed_with_4502_and_finds_few_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.connection.AUTH_SECONDS", 0.6)
    monkeypatch.setattr("gateway.guard.QUEUE_SECONDS", 0.2)
    async with running(tmp_path) as gateway:
        silent = [await websockets.connect(gateway.ws, proxy=None) for _ in range(20)]
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(gateway.ws, proxy=None)
        assert refused.value.response.status_code == 429
        async with gateway.client("alice") as canary:
            assert (await canary.call("health"))["status"] == "ok"
        for socket in silent:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4502
        async with gateway.client(None) as wire:
            assert (await wire.call("connect", token=TOKENS["alice"]))["user"] == "alice"


@pytest.mark.attack(25)
async def test_a_crowd_that_authenticates_at_once_is_let_in(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:

        async def one() -> str:
            async with gateway.client(None) as wire:
                return str((await wire.call("connect", token=TOKENS["alice"]))["user"])

        assert await asyncio.gather(*(one() for _ in range(300))) == ["alice"] * 300


@pytest.mark.attack(25)
async def test_places_are_given_back_and_never_lost() -> None:
    places = Places(total=3, per_address=2)
    first, second = await places.take("a"), await places.take("a")
    waiting = asyncio.ensure_future(places.take("a"))
    await asyncio.sleep(0)
    assert not waiting.done()
    first.leave()
    third = await waiting
    assert (await places.take("b")) is not None
    cancelled = asyncio.ensure_future(places.take("b"))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    for place in (second, third, third):
        place.leave()
    again = [await places.take("a"), await places.take("a")]
    assert len(again) == 2


@pytest.mark.attack(25)
async def test_a_place_that_gets_free_as_its_waiter_gives_up_is_not_lost() -> None:
    places = Places(total=1, per_address=1)
    for _ in range(3):
        place = await places.take("a")
        waiting = asyncio.ensure_future(places.take("a"))
        await asyncio.sleep(0)
        waiting.cancel()
        place.leave()  # in the same round of the loop: the waiter does not know yet
        await asyncio.wait([waiting])
    async with asyncio.timeout(1):
        (await places.take("a")).leave()


@pytest.mark.attack(25)
async def test_a_hoard_of_silent_connections_is_thinned_out_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.guard.Waiting.__init__.__kwdefaults__", {"total": 50, "per_address": 20, "most": 60})
    monkeypatch.setattr("gateway.guard.SPARED_SECONDS", 0.2)
    async with running(tmp_path) as gateway:
        hoard = [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(30)]
        await asyncio.sleep(0.25)
        hoard += [await asyncio.open_connection("127.0.0.1", gateway.port) for _ in range(10)]
        for reader, _ in hoard[:10]:
            async with asyncio.timeout(2):
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
        async with gateway.client() as canary:
            assert (await canary.call("health"))["status"] == "ok"
        hoard[-1][1].write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b"200" in await hoard[-1][0].readline()
        for _, writer in hoard:
            writer.close()


@pytest.mark.attack(25)
@pytest.mark.attack(27)
async def test_half_a_request_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.guard.REQUEST_SECONDS", 0.3)
    async with running(tmp_path) as gateway:
        begun = time.monotonic()
        assert await plain(gateway.port, b"GET / HTTP/1.1\r\nHost: 127") == b""
        assert await plain(gateway.port, b"") == b""
        assert time.monotonic() - begun < 3
        async with gateway.http.get(gateway.url + "/health") as response:
            assert response.status == 200


@pytest.mark.attack(26)
async def test_compression_is_never_agreed_to(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        text = UPGRADE.format(host=f"127.0.0.1:{gateway.port}", more="Sec-WebSocket-Extensions: permessage-deflate\r\n")
        answer = await head(gateway.port, text.encode())
        assert b"101" in answer.split(b"\r\n")[0]
        assert b"extensions" not in answer.lower()
        headers = bearer("alice") | {"Content-Encoding": "gzip"}
        async with gateway.http.post(gateway.url + "/api/v1/rpc", data=b"\x1f\x8b", headers=headers) as response:
            assert response.status == 400


@pytest.mark.attack(88)
async def test_protective_headers_on_every_answer(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for path in ("/", "/health", "/status", "/nothing", "/static/licences.txt", "/api/v1/media/x"):
            async with gateway.http.get(gateway.url + path) as response:
                headers = response.headers
                assert headers["X-Content-Type-Options"] == "nosniff"
                assert headers["Referrer-Policy"] == "no-referrer"
                policy = headers["Content-Security-Policy"]
                assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                if not path.startswith("/static") and path != "/":
                    assert headers["Cache-Control"] == "no-store"
                assert "aiohttp" not in headers["Server"].lower()
        async with gateway.http.get(gateway.url + "/") as response:
            text = await response.text()
            assert "<script>" not in text and "onclick" not in text and "style=" not in text


async def test_only_listed_addresses_get_in(tmp_path: Path) -> None:
    async with running(tmp_path, server={"allowed_ips": ["10.0.0.0/8"]}) as gateway:
        async with gateway.http.get(gateway.url + "/health") as response:
            assert response.status == 403
        assert await upgrade(gateway, more="X-Forwarded-For: 10.1.2.3\r\n") == 403


async def test_no_more_connections_than_allowed(tmp_path: Path) -> None:
    async with running(tmp_path, server={"max_connections": 2}) as gateway:
        async with gateway.client("alice"), gateway.client("bob"):
            assert await upgrade(gateway, more=f"Authorization: Bearer {TOKENS['alice']}\r\n") == 503
        await asyncio.sleep(0.05)
        async with gateway.client("alice") as wire:
            assert (await wire.call("health"))["status"] == "ok"


@pytest.mark.attack(87)
async def test_login_code_cookie_and_pages_of_others(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        login, code = gateway.url + "/api/v1/login", gateway.login_code
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            async with gateway.http.post(login, json={"code": code}, headers=headers) as response:
                assert response.status == 403
        async with gateway.http.post(login, data=b"not json") as response:
            assert response.status == 400
            assert (await response.json())["error"]["code"] == 1000
        jar = aiohttp.CookieJar(unsafe=True)
        async with aiohttp.ClientSession(cookie_jar=jar) as browser:
            async with browser.post(login, json={"code": code}, headers={"Origin": gateway.url}) as response:
                assert response.status == 200
                cookie = response.headers["Set-Cookie"]
                assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and "Path=/" in cookie
            async with browser.post(login, json={"code": code}) as response:
                assert response.status == 401
            async with browser.ws_connect(gateway.url + "/ws", origin=gateway.url) as socket:
                await socket.send_str(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "connect"}))
                answer = json.loads((await socket.receive()).data)
                assert (answer["result"]["user"], answer["result"]["role"]) == ("admin", "owner")
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await browser.ws_connect(gateway.url + "/ws", origin="http://evil.example")
            assert refused.value.status == 403
            async with browser.post(gateway.url + "/api/v1/logout") as response:
                assert (await response.json())["logged_out"] is True


async def test_pages_of_allowed_origins_may_use_the_api_and_others_may_not(tmp_path: Path) -> None:
    guest = "https://chat.example"
    async with running(tmp_path, server={"allowed_origins": [guest]}) as gateway:
        asks = {"Origin": guest, "Access-Control-Request-Method": "POST"}
        async with gateway.http.options(gateway.url + "/api/v1/rpc", headers=asks) as response:
            assert response.status == 204
            assert response.headers["Access-Control-Allow-Origin"] == guest
            assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
            assert "Access-Control-Allow-Credentials" not in response.headers
        async with gateway.http.options(
            gateway.url + "/api/v1/rpc", headers=asks | {"Origin": "https://evil.example"}
        ) as response:
            assert response.status == 403
            assert "Access-Control-Allow-Origin" not in response.headers
        async with gateway.http.get(gateway.url + "/health", headers={"Origin": gateway.url}) as response:
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.attack(23)
async def test_bridges_behind_a_proxy_are_told_apart_and_none_sends_without_an_end(tmp_path: Path) -> None:
    server = {"trusted_proxies": ["127.0.0.1"], "tls_terminated_by_proxy": True}
    async with running(tmp_path, server=server) as gateway:
        url = gateway.url + "/api/v1/bridge/pair"
        for number in range(12):
            headers = {"X-Forwarded-For": f"10.0.0.{number}"}
            async with gateway.http.post(url, data='{"name": "x"}', headers=headers) as response:
                assert response.status == 200
        async with gateway.http.post(url, data=b'{"name": "' + b"x" * 1_000_000 + b'"}') as response:
            assert response.status == 413 and (await response.json())["error"]["code"] == 1006

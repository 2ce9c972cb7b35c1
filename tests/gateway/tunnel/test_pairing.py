"""Pairing over HTTP: a code, a person's yes, a token once."""

import time
from typing import Any

import aiohttp
import pytest

from bus.errors import NotFound, RateLimited
from gateway.tunnel.pairing import LIFETIME
from tests.fakes.raw_bridge import RawBridge
from tests.fakes.tunnel_rig import GatewayRig, actor


async def post(gateway: GatewayRig, body: Any) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{gateway.port}/api/v1/bridge/pair"
    async with aiohttp.ClientSession() as http, http.post(url, data=body) as answer:
        return answer.status, await answer.json()


async def poll(gateway: GatewayRig, pair_id: str) -> tuple[int, dict[str, Any]]:
    url = f"http://127.0.0.1:{gateway.port}/api/v1/bridge/pair/{pair_id}"
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return answer.status, await answer.json()


async def test_from_code_to_tunnel(gateway: GatewayRig) -> None:
    status, begun = await post(gateway, '{"name": "laptop", "os": "linux"}')
    assert status == 200 and set(begun) == {"pair_id", "code", "expires_at"}
    assert len(begun["code"]) == 9 and begun["code"][4] == "-"
    assert await poll(gateway, begun["pair_id"]) == (200, {"status": "pending"})
    bridge_id = await gateway.directory.pair(begun["code"].lower().replace("-", " "), actor())
    status, confirmed = await poll(gateway, begun["pair_id"])
    assert status == 200 and confirmed["status"] == "confirmed"
    status, gone = await poll(gateway, begun["pair_id"])
    assert status == 410 and gone["error"]["code"] == 1003
    (listed,) = await gateway.directory.list_bridges("alice")
    assert (listed["bridge_id"], listed["name"], listed["connected"]) == (bridge_id, "laptop", False)
    async with RawBridge(gateway.url) as bridge:
        await bridge.send(type="AUTH", token=confirmed["token"])
        assert (await bridge.frame("AUTH"))["payload"]["bridge_id"] == bridge_id
    assert gateway.gate.token(confirmed["token"]).scopes == frozenset({"tunnel"})


async def test_a_paired_bridge_that_names_itself(gateway: GatewayRig) -> None:
    """It takes the place that was kept for it; the id of the pairing still finds it."""
    _, begun = await post(gateway, '{"name": "laptop", "os": "linux"}')
    paired = await gateway.directory.pair(begun["code"], actor())
    _, confirmed = await poll(gateway, begun["pair_id"])
    async with RawBridge(gateway.url) as bridge:
        await bridge.auth(confirmed["token"], bridge_id="itself")
        assert [row["bridge_id"] for row in await gateway.directory.list_bridges("alice")] == ["itself"]
        assert await gateway.directory.revoke(paired, actor()) is True
        assert await bridge.closed() == 4501
    await gateway.restart()
    assert await gateway.directory.list_bridges("alice") == []


@pytest.mark.attack(10)
async def test_a_code_is_spent_once(gateway: GatewayRig) -> None:
    _, begun = await post(gateway, '{"name": "laptop", "os": "linux"}')
    await gateway.directory.pair(begun["code"], actor())
    with pytest.raises(NotFound):
        await gateway.directory.pair(begun["code"], actor("bob"))


async def test_a_clock_that_is_set_ends_no_code_and_keeps_none(
    gateway: GatewayRig, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, begun = await post(gateway, '{"name": "laptop", "os": "linux"}')
    now, monotonic = time.time, time.monotonic
    monkeypatch.setattr(time, "time", lambda: now() + 3600)
    assert await poll(gateway, begun["pair_id"]) == (200, {"status": "pending"})
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + LIFETIME)
    with pytest.raises(NotFound):
        await gateway.directory.pair(begun["code"], actor())


@pytest.mark.attack(10)
async def test_guessing_is_locked_out(gateway: GatewayRig) -> None:
    for _ in range(5):
        with pytest.raises(NotFound):
            await gateway.directory.pair("AAAA-AAAA", actor())
    _, begun = await post(gateway, '{"name": "laptop", "os": "linux"}')
    with pytest.raises(RateLimited):
        await gateway.directory.pair(begun["code"], actor())
    await gateway.directory.pair(begun["code"], actor("bob"))


@pytest.mark.parametrize("body", ["", "x", "[]", '{"name": 5}', '{"os": ["a"]}', b"\xff"])
async def test_a_body_that_is_none(gateway: GatewayRig, body: Any) -> None:
    status, answer = await post(gateway, body)
    assert status == 400 and answer["error"]["code"] == 1000


async def test_too_many_askers(gateway: GatewayRig) -> None:
    statuses = [(await post(gateway, '{"name": "x", "os": "y"}'))[0] for _ in range(12)]
    assert statuses == [200] * 10 + [429] * 2
    assert (await poll(gateway, "unknown"))[0] == 404


async def test_a_name_for_the_eyes_is_cut(gateway: GatewayRig) -> None:
    _, begun = await post(gateway, '{"name": "%s", "os": ""}' % ("n" * 500))
    await gateway.directory.pair(begun["code"], actor())
    assert len((await gateway.directory.list_bridges("alice"))[0]["name"]) == 64

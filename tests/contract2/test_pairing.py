"""A bridge that has no token yet, over plain HTTP; and what its token may do."""

import asyncio
import re
from pathlib import Path

import aiohttp
import pytest

from tests.contract2.peers import raw_bridge, tool
from tests.e2e.gateway_process import Client, Refused, gateway_process


async def test_pairing(tmp_path: Path) -> None:
    async with (
        gateway_process(tmp_path / "home") as gateway,
        aiohttp.ClientSession() as http,
        Client(gateway.ws) as alice,
    ):
        base = f"{gateway.url}/api/v1/bridge/pair"
        async with http.post(base, json={"name": "desk", "os": "linux"}) as answer:
            assert answer.status == 200
            begun = await answer.json()
        assert set(begun) == {"pair_id", "code", "expires_at"}
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", begun["expires_at"])
        async with http.get(f"{base}/{begun['pair_id']}") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "pending"})
        async with http.get(f"{base}/unknown") as answer:
            assert answer.status == 404 and (await answer.json())["error"]["code"] == 1003
        with pytest.raises(Refused) as refused:
            await alice.call("bridge.pair", code="ZZZZ-ZZZZ")
        assert refused.value.code == 1003
        paired = await alice.call("bridge.pair", code=begun["code"].lower().replace("-", ""))
        assert set(paired) == {"bridge_id"}
        async with http.get(f"{base}/{begun['pair_id']}") as answer:
            got = await answer.json()
            assert set(got) == {"status", "token"} and got["status"] == "confirmed"
        async with http.get(f"{base}/{begun['pair_id']}") as answer:
            assert answer.status == 410
        (entry,) = (await alice.call("bridge.list"))["bridges"]
        assert entry["bridge_id"] == paired["bridge_id"] and entry["connected"] is False and entry["name"] == "desk"
        with pytest.raises(Refused) as refused:
            async with Client(gateway.ws, got["token"]) as laptop:
                await laptop.call("chat.send", text="hi")
        assert refused.value.code == 1002
        tunnel = gateway.url.replace("http", "ws", 1) + "/v1/tunnel"
        async with raw_bridge(tunnel, got["token"], None) as bare:
            assert bare.bridge_id == paired["bridge_id"]
        async with raw_bridge(tunnel, got["token"], None) as bare:
            await bare.offer(tool("raw_look"))
            (entry,) = (await alice.call("bridge.list"))["bridges"]
            assert entry["connected"] is True
            assert await alice.call("bridge.revoke", bridge_id=paired["bridge_id"]) == {"revoked": True}
            assert await bare.closed(1) == 4501
        assert (await alice.call("bridge.list"))["bridges"] == []
        await asyncio.sleep(0)


async def test_what_is_offered_and_what_the_model_gets(tmp_path: Path) -> None:
    async with gateway_process(tmp_path / "home") as gateway, Client(gateway.ws) as alice:
        token = alice.token
        async with raw_bridge(gateway.url.replace("http", "ws", 1) + "/tunnel", token) as bridge:
            many = [tool(f"raw_t{n}") for n in range(200)] + [tool("raw_denied", policy="deny")]
            await bridge.offer(*many, {"name": 5, "server": "raw"}, tool("bad name!" * 20))
            async with asyncio.timeout(5):
                while (
                    len(mine := [t for t in (await alice.call("tools.list"))["tools"] if t["source"] == "bridge"]) < 200
                ):
                    await asyncio.sleep(0.02)
            names = [t["name"] for t in mine]
            assert "raw_t199" in names and all(re.fullmatch(r"[A-Za-z0-9_-]{1,64}", name) for name in names)
            with pytest.raises(Refused) as refused:
                await alice.call("tools.call", name="raw_denied", arguments={})
            assert refused.value.code == 2004 and not bridge.of("MCP_REQUEST")
            odd = next(name for name in names if name.startswith("bad"))
            calling = asyncio.ensure_future(alice.call("tools.call", name=odd, arguments={}))
            request = bridge.checked(await bridge.nth("MCP_REQUEST"))
            assert request["payload"]["params"]["name"] == "bad name!" * 20
            await bridge.answer(request, "routed")
            assert (await calling)["content"][0]["text"] == "routed"
            # live rotation to another user's token is refused; a garbage token closes
            await bridge.socket.send('{"type":"AUTH","token":"garbage"}')
            assert await bridge.closed() == 4501

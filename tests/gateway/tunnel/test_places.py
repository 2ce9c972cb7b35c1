"""Bridges that never say who they are: few places, ten seconds, and nobody else notices."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import websockets
from websockets.exceptions import InvalidStatus

from tests.gateway.edge.harness import TOKENS, Running, running


async def _authenticated(gateway: Running, name: str, who: str = "alice") -> Any:
    socket = await websockets.connect(gateway.ws.removesuffix("/ws") + "/tunnel", proxy=None)
    payload = {"protocol": {"min": 1, "max": 1}, "bridge_id": name, "boot_id": "b", "name": name,
               "client": {"name": "raw", "version": "1", "os": "linux"}, "in_flight": []}  # fmt: skip
    await socket.send(json.dumps({"type": "AUTH", "token": TOKENS[who], "payload": payload}))
    assert json.loads(await socket.recv())["payload"]["ok"] is True
    return socket


@pytest.mark.attack(25)
async def test_who_never_authenticates_finds_few_places_and_takes_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.tunnel.endpoint.Endpoint.__init__.__kwdefaults__", {"auth_seconds": 0.8})
    monkeypatch.setattr("gateway.guard.QUEUE_SECONDS", 0.2)
    async with running(tmp_path) as gateway:
        url = gateway.ws.removesuffix("/ws") + "/tunnel"
        standing = await _authenticated(gateway, "standing")
        silent = [await websockets.connect(url, proxy=None) for _ in range(20)]
        with pytest.raises(InvalidStatus) as refused:
            await websockets.connect(url, proxy=None)
        assert refused.value.response.status_code == 429
        async with gateway.client("alice") as canary, gateway.client(None) as other:
            assert [one["connected"] for one in (await canary.call("bridge.list"))["bridges"]] == [True]
            assert (await other.call("connect", token=TOKENS["alice"]))["user"] == "alice"
        for socket in silent:
            with pytest.raises(websockets.ConnectionClosed) as closed:
                while True:
                    await socket.recv()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == 4502
        await (await _authenticated(gateway, "late")).close()
        await standing.close()


@pytest.mark.attack(78)
async def test_a_crowd_of_bridges_of_one_address_is_let_in(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        sockets = await asyncio.gather(*(_authenticated(gateway, f"b{n}", ("alice", "bob")[n % 2]) for n in range(80)))
        for socket in sockets:
            await socket.close()

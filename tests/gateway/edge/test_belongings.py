"""Whoever gets a removed user's name gets nothing that was his, and what others have stays."""

import base64
import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests.gateway.edge.harness import Running, running

SECRET = "the code is 4711"
CALC = {"name": "calculator", "arguments": {"expression": "1+1"}, "idempotency_key": "k1"}


async def _token(gateway: Running, user: str) -> str:
    return str((await gateway.rpc("token.create", user=user, role="user"))["result"]["token"])


async def _bridge(gateway: Running, token: str) -> Any:
    socket = await websockets.connect(gateway.ws.removesuffix("/ws") + "/tunnel", proxy=None)
    payload = {"protocol": {"min": 1, "max": 1}, "bridge_id": "laptop", "boot_id": "b", "name": "laptop",
               "client": {"name": "raw", "version": "1", "os": "linux"}, "in_flight": []}  # fmt: skip
    await socket.send(json.dumps({"type": "AUTH", "token": token, "payload": payload}))
    assert json.loads(await socket.recv())["payload"]["ok"] is True
    tool = {"name": "fs_read", "server": "fs", "description": "", "inputSchema": {"type": "object"}, "policy": "allow"}
    catalogue = {"revision": 1, "servers": [{"name": "fs", "state": "ready"}], "tools": [tool]}
    await socket.send(json.dumps({"type": "TOOLS", "id": "t1", "payload": catalogue}))
    return socket


async def _fill(gateway: Running, token: str) -> str:
    """Something of everything that is kept by a user's name; the id of a file."""
    remember = {"action": "remember", "text": SECRET}
    plan = {"action": "add", "text": SECRET, "at": "in 3 hours"}
    async with gateway.client(token) as wire:
        await wire.call("chat.send", text=SECRET)
        await wire.call("chat.send", text=SECRET, session_key="my diary")
        await wire.call("chat.send", text=f"use memory {json.dumps(remember)}")
        await wire.call("chat.send", text=f"use schedule {json.dumps(plan)}")
        await wire.call("chat.send", text="/language zh")
        await wire.call("tools.call", **CALC)
        assert [one["name"] for one in (await wire.call("bridge.list"))["bridges"]] == ["laptop"]
        data = base64.b64encode(SECRET.encode()).decode()
        await wire.call("chat.send", text="keep", media=[{"data": data, "mime": "text/plain", "name": "a.txt"}])
    body = {"file": io.BytesIO(SECRET.encode())}
    async with gateway.http.post(
        gateway.url + "/api/v1/media", data=body, headers={"Authorization": f"Bearer {token}"}
    ) as response:
        return str((await response.json())["media_id"])


async def _found(gateway: Running, token: str, media: str) -> dict[str, object]:
    """What of it `token` can reach."""
    async with gateway.client(token) as wire:
        found: dict[str, object] = {
            "sessions": (await wire.call("session.list"))["sessions"],
            "hits": (await wire.call("session.search", query="4711"))["hits"],
            "diary": await wire.code("chat.history", session_key="my diary"),
            "bridges": (await wire.call("bridge.list"))["bridges"],
            "bridge tools": [t for t in (await wire.call("tools.list"))["tools"] if t["source"] == "bridge"],
            "usage": (await wire.call("usage.get"))["total"]["turns"],
            "grants": (await wire.call("approval.grants"))["grants"],
        }
        said = (await wire.call("chat.send", text="/memory"))["text"]
        said += (await wire.call("chat.send", text='use schedule {"action": "list"}'))["text"]
        found["told"] = "4711" in said
    where = f"{gateway.url}/api/v1/media/{media}"
    async with gateway.http.get(where, headers={"Authorization": f"Bearer {token}"}) as response:
        found["media"] = response.status
    return found


NOTHING = {"sessions": [], "hits": [], "diary": 1003, "bridges": [], "bridge tools": [], "usage": 0, "grants": [],
           "told": False, "media": 404}  # fmt: skip


async def test_nothing_of_a_removed_user_is_left_for_the_next_of_his_name(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.0) as gateway:
        carol, dave = await _token(gateway, "carol"), await _token(gateway, "dave")
        bridges = [await _bridge(gateway, carol), await _bridge(gateway, dave)]
        media, other = await _fill(gateway, carol), await _fill(gateway, dave)
        before = await _found(gateway, carol, media)
        assert all(before[name] != NOTHING[name] for name in NOTHING if name != "grants"), before
        answer = (await gateway.rpc("user.remove", user="carol"))["result"]
        assert answer == {"user": "carol", "removed": True}
        assert (await gateway.rpc("user.remove", user="carol"))["error"]["code"] == 1003
        again = await _token(gateway, "carol")
        assert await _found(gateway, again, media) == NOTHING
        async with gateway.client(again) as wire:
            assert "4711" not in str(await wire.call("chat.history", session_key="agent:main:websocket:direct:carol"))
            await wire.call("tools.call", **{**CALC, "arguments": {"expression": "2+2"}})  # the key is free again
        assert (await _found(gateway, dave, other))["media"] == 200
        for bridge in bridges:
            await bridge.close()
    kept = b"".join(
        path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "carol" in _owners(path)
    )  # fmt: skip
    assert SECRET.encode() not in kept
    async with running(tmp_path, pace=0.0) as gateway:  # and a restart brings nothing back
        found = await _found(gateway, again, media)
        assert {**found, "sessions": [], "usage": 0} == NOTHING
        found = await _found(gateway, dave, other)
        assert (found["media"], found["told"], found["diary"], bool(found["bridges"])) == (200, True, 0, True)


def _owners(path: Path) -> str:
    """Whose a file is, as far as its text says so."""
    return path.read_bytes()[:2000].decode(errors="replace")


async def test_a_full_disk_is_told_as_such_and_the_removal_can_be_asked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(tmp_path, pace=0.0) as gateway:
        carol = await _token(gateway, "carol")
        async with gateway.client(carol) as wire:
            for key in ("one", "two", "three"):
                await wire.call("chat.send", text=SECRET, session_key=key)
        with monkeypatch.context() as full:

            def refuse(*_: object) -> None:
                raise OSError(errno.ENOSPC, "No space left on device")

            full.setattr("agent.sessions.disk.Disk.write_synced", refuse)
            assert (await gateway.rpc("user.remove", user="carol"))["error"]["code"] == 1007
        assert (await gateway.rpc("user.remove", user="carol"))["result"]["removed"] is True


async def test_a_user_of_the_configuration_loses_nothing_when_his_removal_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path, pace=0.0) as gateway, gateway.client("alice") as wire:
        await wire.call("chat.send", text=SECRET)
        assert (await gateway.rpc("user.remove", user="alice"))["error"]["code"] == -32602
        assert (await wire.call("session.list"))["sessions"]


async def test_who_adds_a_name_that_has_conversations_is_told(tmp_path: Path) -> None:
    tokens = [{"user": "zoe", "role": "user", "token": "zoe-token-0123456789abcdef01234567890"},
              {"user": "root", "role": "owner", "token": "root-token-0123456789abcdef0123456789"}]  # fmt: skip
    async with running(tmp_path, auth={"tokens": tokens}) as gateway, gateway.client(tokens[0]["token"]) as wire:
        await wire.call("chat.send", text=SECRET)
    async with running(tmp_path, auth={"tokens": tokens[1:]}) as gateway:
        assert (await gateway.rpc("user.add", user="new"))["result"].get("sessions") is None
        assert (await gateway.rpc("user.add", user="zoe"))["result"]["sessions"] == 1
        assert (await gateway.rpc("user.remove", user="zoe"))["result"]["removed"] is True
        assert (await gateway.rpc("user.add", user="zoe"))["result"].get("sessions") is None

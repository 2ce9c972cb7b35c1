"""Tokens, users, identities, pairing: made, narrowed, rotated, revoked, and what that does to live sockets."""

import asyncio
import json
import stat
import time
from pathlib import Path

import pytest

from bridge.audit import verify
from gateway.app import open_offline
from gateway.identity.document import Document
from gateway.identity.pairing import Pairing
from gateway.settings import GatewaySettings, Loaded
from tests.gateway.edge.harness import Running, bearer, running


async def result(gateway: Running, method: str, who: str = "root", **params: object) -> dict[str, object]:
    answer = await gateway.rpc(method, who, **params)
    assert "result" in answer, answer
    return dict(answer["result"])


async def code(gateway: Running, method: str, who: str = "root", **params: object) -> int:
    return int((await gateway.rpc(method, who, **params)).get("error", {}).get("code", 0))


async def test_the_first_start_makes_an_owner_and_says_where_he_is(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        file = tmp_path / "admin.token"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = file.read_text().strip()
        me = await result(gateway, "connect", token)
        assert (me["user"], me["role"]) == ("admin", "owner")
        assert set(me["scopes"]) >= {"chat", "tools", "tunnel", "approve", "admin", "metrics"}
        found = json.loads((tmp_path / "gateway.json").read_text())
        assert found["url"] == gateway.url and found["pid"]
        assert stat.S_IMODE((tmp_path / "gateway.json").stat().st_mode) == 0o600
    assert not (tmp_path / "gateway.json").exists()
    async with running(tmp_path) as gateway:
        assert file.read_text().strip() == token
        assert (await result(gateway, "connect", token))["user"] == "admin"
    assert stat.S_IMODE((tmp_path / "identity" / "tokens.json").stat().st_mode) == 0o600
    assert token.split(".")[1] not in (tmp_path / "identity" / "tokens.json").read_text()


async def test_the_life_of_a_token(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        made = await result(gateway, "token.create", user="carol", role="user", name="phone", ttl="30d")
        assert set(made) == {"id", "token", "user", "role"}
        token, token_id = str(made["token"]), str(made["id"])
        assert token.startswith(token_id + ".")
        assert (await result(gateway, "connect", token))["user"] == "carol"
        listed = (await result(gateway, "token.list"))["tokens"]
        assert token.split(".")[1] not in json.dumps(listed)
        row = next(t for t in listed if t["id"] == token_id)
        assert (row["user"], row["role"], row["name"]) == ("carol", "user", "phone") and row["expires_at"]
        assert "carol" in json.dumps(await result(gateway, "user.list"))
        rotated = await result(gateway, "token.rotate", id=token_id, grace="1h")
        assert rotated["id"] == token_id and rotated["token"] != token
        assert (await result(gateway, "connect", token))["user"] == "carol"
        assert (await result(gateway, "connect", str(rotated["token"])))["user"] == "carol"
        assert (await result(gateway, "token.revoke", id=token_id))["revoked"] is True
        for dead in (token, str(rotated["token"])):
            assert await code(gateway, "connect", dead) == 1001
        assert await code(gateway, "token.revoke", id=token_id) == 1003
        assert await code(gateway, "token.rotate", id="gw_none") == 1003
        for bad in ({"role": "emperor"}, {"role": "user", "ttl": "soon"}, {"role": "user", "scopes": []},
                    {"role": "user", "scopes": ["admin"]}, {"role": "user", "scopes": ["fly"]}):  # fmt: skip
            assert await code(gateway, "token.create", user="carol", **bad) == -32602, bad
        assert await code(gateway, "token.create", user="../x", role="user") == -32602


@pytest.mark.attack(9)
async def test_nobody_hands_out_more_than_he_holds(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        assert await code(gateway, "token.create", "boss", user="x", role="admin") == 1002
        assert await code(gateway, "token.create", "boss", user="x", role="owner") == 1002
        assert await code(gateway, "user.add", "boss", user="x", role="admin") == 1002
        owner = next(t for t in (await result(gateway, "token.list"))["tokens"] if t["name"] == "admin token")
        for method in ("token.rotate", "token.revoke"):
            assert await code(gateway, method, "boss", id=owner["id"]) == 1002
        assert await code(gateway, "user.invite", "boss", user="admin") == 1002
        assert await code(gateway, "user.remove", "boss", user="admin") == 1002
        assert await code(gateway, "token.create", "boss", user="admin", role="user") == 1002
        narrow = await result(gateway, "token.create", user="clerk", role="owner", scopes=["admin"])
        assert await code(gateway, "token.create", str(narrow["token"]), user="y", role="user") == 1002
        assert await code(gateway, "token.create", str(narrow["token"]), user="y", role="owner", scopes=["admin"]) == 0
        assert (await result(gateway, "token.create", user="second", role="admin"))["role"] == "admin"
        refused = [r for r in (await result(gateway, "audit.tail", limit=100))["records"] if r.get("refused")]
        assert len(refused) >= 6
    assert verify(tmp_path / "audit.jsonl").ok


@pytest.mark.attack(11)
async def test_after_the_grace_the_old_secret_and_its_sockets_are_dead(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        made = await result(gateway, "token.create", user="carol", role="user")
        async with gateway.client(str(made["token"])) as old:
            rotated = await result(gateway, "token.rotate", id=made["id"], grace="1s")
            async with gateway.client(str(rotated["token"])) as new:
                assert (await old.call("health"))["status"] == "ok"
                assert await old.close_code(5) == 4501
                assert await code(gateway, "connect", str(made["token"])) == 2001
                assert (await new.call("connect"))["user"] == "carol"
        expiring = await result(gateway, "token.create", user="carol", role="user", ttl="1s")
        async with gateway.client(str(expiring["token"])) as wire:
            assert await wire.close_code(5) == 4501
        assert await code(gateway, "connect", str(expiring["token"])) == 2001


@pytest.mark.quiet
@pytest.mark.attack(12)
@pytest.mark.parametrize("how", ["token", "user"])
async def test_a_revoked_token_ends_sockets_and_turns_within_a_second(tmp_path: Path, how: str) -> None:
    async with running(tmp_path) as gateway:
        made = await result(gateway, "token.create", user="carol", role="user")
        other = await result(gateway, "token.create", user="dave", role="user")
        async with gateway.client(str(made["token"])) as wire, gateway.client(str(other["token"])) as bystander:
            await wire.call("chat.send_stream", text="count to 900")
            await wire.event("chat.delta")
            begun = time.monotonic()
            if how == "token":
                await result(gateway, "token.revoke", id=made["id"])
            else:
                assert (await result(gateway, "user.remove", user="carol"))["removed"] is True
            assert await wire.close_code(3) == 4501
            assert time.monotonic() - begun < 1
            assert (await bystander.call("health"))["status"] == "ok"
        async with asyncio.timeout(3):
            while True:
                async with gateway.http.get(gateway.url + "/status", headers=bearer("root")) as response:
                    if (await response.json())["queues"]["running"] == 0:
                        break
        assert await code(gateway, "connect", str(made["token"])) == 1001


async def test_revoking_ones_own_token_is_answered_and_then_takes_effect(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        made = await result(gateway, "token.create", user="carol", role="owner")
        async with gateway.client(str(made["token"])) as wire:
            assert (await wire.call("token.revoke", id=made["id"]))["revoked"] is True
            assert await wire.close_code(2) == 4501


async def test_a_removal_that_the_disk_refused_half_way_can_be_asked_for_again(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        made = await result(gateway, "token.create", user="carol", role="user")
        refusing = tmp_path / "identity" / "tokens.json.new"
        refusing.mkdir()
        assert await code(gateway, "user.remove", user="carol") == 1007
        refusing.rmdir()
        assert (await result(gateway, "user.remove", user="carol"))["removed"] is True
        assert await code(gateway, "connect", str(made["token"])) == 1001
    assert str(made["id"]) not in (tmp_path / "identity" / "tokens.json").read_text()


async def test_users_and_invitations(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        added = await result(gateway, "user.add", user="carol")
        assert (added["user"], added["role"]) == ("carol", "user")
        assert await code(gateway, "user.add", user="carol") == 3002
        assert await code(gateway, "user.remove", user="nobody") == 1003
        assert await code(gateway, "user.remove", str(await owner_token(tmp_path)), user="admin") == 1002
        invited = await result(gateway, "user.invite", user="carol")
        assert invited["user"] == "carol" and f"#login={invited['code']}" in str(invited["url"])
        async with gateway.http.post(gateway.url + "/api/v1/login", json={"code": invited["code"]}) as response:
            assert (await response.json())["user"] == "carol"
        async with gateway.http.post(gateway.url + "/api/v1/login", json={"code": invited["code"]}) as response:
            assert response.status == 401


async def owner_token(home: Path) -> str:
    return (home / "admin.token").read_text().strip()


@pytest.mark.attack(10)
async def test_pairing_codes_are_single_use_short_lived_and_not_to_be_guessed(tmp_path: Path) -> None:
    pairing = Pairing(Document(tmp_path / "identity" / "pairing.json"))
    senders = (("telegram", "1", "42", "Carol"), ("telegram", "1", "43", "Dave"), ("discord", "9", "44", "Eve"))
    first, second, third = (pairing.ask(*sender, time.time()) for sender in senders)
    assert first is not None and second is not None and third is not None
    async with running(tmp_path) as gateway:
        pending = (await result(gateway, "pairing.list"))["pending"]
        assert pending == [asking.public() for asking in (first, second, third)]
        shown = first.public()["code"]
        assert len(shown) == 9 and shown[4] == "-"
        async with asyncio.TaskGroup() as group:
            claims = [
                group.create_task(gateway.rpc("pairing.approve", code=text, user="carol"))
                for text in (shown, shown.lower().replace("-", ""))
            ]
        winners = [c.result() for c in claims if "result" in c.result()]
        assert [w["result"] for w in winners] == [{"user": "carol"}]
        assert await code(gateway, "pairing.approve", code=shown) == 1003
        codes = [await code(gateway, "pairing.approve", "boss", code=f"AAAA-AAA{n}") for n in range(6)]
        assert codes == [1003] * 5 + [1005]
        assert (await result(gateway, "pairing.approve", code=second.code)) == {"user": "telegram-43"}
        assert (await result(gateway, "pairing.deny", code=third.code)) == {"denied": True}


async def test_linking_an_identity_and_letting_it_go(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        offered = await result(gateway, "identity.link", "alice")
        assert set(offered) == {"code", "expires_at"}
        assert await result(gateway, "identity.list", "alice") == {"identities": []}
        assert await code(gateway, "identity.unlink", "alice", identity="telegram:1:42") == 1003
        async with gateway.client("alice") as wire:
            told = await wire.call("chat.send", text=f"/link {offered['code']}")
            assert "platform" in told["text"]


async def test_those_of_the_configurations_tokens_are_listed_too(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        configured = {entry.user: entry.role for entry in gateway.settings.auth.tokens}
        assert configured
        await result(gateway, "user.add", user="zoe")
        listed = {user["user"]: user for user in (await gateway.rpc("user.list"))["result"]["users"]}
        assert {name: listed[name]["role"] for name in configured} == configured
        assert listed["zoe"]["created_at"] and all(isinstance(user["identities"], list) for user in listed.values())


async def test_the_same_methods_on_a_stopped_gateway(tmp_path: Path) -> None:
    loaded = Loaded(settings=GatewaySettings(), source=None, home=tmp_path)
    async with open_offline(loaded) as call:
        made = await call("token.create", {"user": "carol", "role": "user"})
        assert [u["user"] for u in (await call("user.list", {}))["users"]] == ["carol"]
        with pytest.raises(Exception, match="ttl"):
            await call("token.create", {"user": "carol", "role": "user", "ttl": 1.5})
        pairing = Pairing(Document(tmp_path / "identity" / "pairing.json"))
        assert pairing.pending(time.time()) == []
    async with running(tmp_path) as gateway:
        assert (await result(gateway, "connect", made["token"]))["user"] == "carol"
        async with gateway.client(made["token"]) as wire:
            await wire.call("chat.send", text="hello", session_key="notes")
        with pytest.raises(Exception, match="in use"):
            async with open_offline(loaded):
                pass
    async with open_offline(loaded) as call:
        await call("token.revoke", {"id": made["id"]})
        assert (await call("session.list", {}))["sessions"] == []
    async with running(tmp_path) as gateway:
        assert await code(gateway, "connect", made["token"]) == 1001

"""Who may do what: the matrix of roles and methods, and people who never see each other."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.edge.harness import ROLES, Wire, bearer, running

EVERYONE = frozenset({"root", "boss", "alice", "robot", "eye"})
ADMINS = frozenset({"root", "boss"})
CHATTING = ADMINS | {"alice", "robot"}
READING = CHATTING | {"eye"}
PEOPLE = ADMINS | {"alice"}
MATRIX: dict[str, frozenset[str]] = {
    "connect": EVERYONE, "health": EVERYONE, "rpc.discover": EVERYONE,
    "chat.send": CHATTING, "chat.send_stream": CHATTING, "chat.abort": CHATTING, "chat.history": READING,
    "session.list": READING, "session.delete": CHATTING, "session.rename": CHATTING, "session.search": READING,
    "session.export": READING, "session.subscribe": READING, "session.unsubscribe": READING,
    "tools.list": READING, "tools.call": CHATTING,
    "bridge.list": READING, "bridge.pair": PEOPLE, "bridge.revoke": PEOPLE, "usage.get": READING,
    "approval.list": PEOPLE, "approval.resolve": PEOPLE, "approval.grants": PEOPLE, "approval.revoke": PEOPLE,
    "question.answer": PEOPLE,
    "token.create": ADMINS, "token.list": ADMINS, "token.rotate": ADMINS, "token.revoke": ADMINS,
    "user.add": ADMINS, "user.list": ADMINS, "user.remove": ADMINS, "user.invite": ADMINS, "audit.tail": ADMINS,
    "identity.link": CHATTING, "identity.list": READING, "identity.unlink": CHATTING,
    "pairing.list": ADMINS, "pairing.approve": ADMINS, "pairing.deny": ADMINS,
    "delivery.list": ADMINS, "delivery.resend": ADMINS, "backup.sessions": ADMINS,
}  # fmt: skip
"""A new method without a row here fails the build."""


@pytest.mark.attack(37)
async def test_every_role_against_every_method_on_both_transports(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client("root") as owner:
        document = await owner.call("rpc.discover")
        assert {m["name"] for m in document["methods"]} == set(MATRIX)
        for who in EVERYONE:
            async with gateway.client(who) as wire:
                for name, allowed in MATRIX.items():
                    over_socket = await wire.code(name, no_such_param=1)
                    over_http = (await gateway.rpc(name, who, no_such_param=1))["error"]["code"]
                    expected = -32602 if who in allowed else 1002
                    assert (over_socket, over_http) == (expected, expected), (who, name)


@pytest.mark.attack(37)
async def test_roles_on_the_other_routes(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        asked = {"model": "demo", "messages": [{"role": "user", "content": "hi"}]}
        for who in EVERYONE:
            async with gateway.http.get(gateway.url + "/status", headers=bearer(who)) as response:
                assert response.status == (200 if who in ADMINS else 403), who
            async with gateway.http.get(
                gateway.url + "/metrics", headers=bearer(who) | {"X-Forwarded-For": "1.2.3.4"}
            ) as response:
                assert response.status == (200 if who in ADMINS else 403), who
            async with gateway.http.post(
                gateway.url + "/v1/chat/completions", headers=bearer(who), json=asked
            ) as response:
                assert response.status == (200 if who in CHATTING else 403), who
            async with gateway.http.get(gateway.url + "/v1/models", headers=bearer(who)) as response:
                assert response.status == 200


async def test_a_token_may_hold_less_than_its_role(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        made = (await gateway.rpc("token.create", user="alice", role="user", scopes=["tunnel"], name="laptop"))[
            "result"
        ]
        for name in ("chat.send", "chat.history", "session.list", "tools.call", "tools.list", "approval.list"):
            assert (await gateway.rpc(name, made["token"]))["error"]["code"] == 1002, name
        assert (await gateway.rpc("connect", made["token"]))["result"]["scopes"] == ["tunnel"]
        assert (await gateway.rpc("bridge.list", made["token"]))["result"] == {"bridges": []}


async def refused(wire: Wire, key: str, message_id: str) -> list[Any]:
    """Every error of somebody who tries another's session, without what differs by nature."""
    out = []
    for method, params in (
        ("chat.history", {"session_key": key}), ("chat.send", {"session_key": key, "text": "hi"}),
        ("chat.send_stream", {"session_key": key, "text": "hi"}), ("chat.abort", {"session_key": key}),
        ("session.delete", {"session_key": key}), ("session.rename", {"session_key": key, "title": "mine"}),
        ("session.export", {"session_key": key}), ("session.subscribe", {"session_key": key}),
        ("session.subscribe", {"session_key": key, "after_seq": 0}), ("session.unsubscribe", {"session_key": key}),
        ("chat.abort", {"message_id": message_id}),
    ):  # fmt: skip
        error = (await wire.ask(method, **params))["error"]
        error["data"].pop("trace_id")
        out.append((method, error))
    return out


@pytest.mark.attack(34)
async def test_anothers_session_is_as_if_it_did_not_exist(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client("alice") as alice:
        mine = await alice.call("chat.send", text="my secret is kiwi")
        key, message_id = mine["session_key"], mine["message_id"]
        for who in ("bob", "robot", "boss", "root"):
            async with gateway.client(who) as wire:
                real = await refused(wire, key, message_id)
                absent = await refused(wire, "agent:main:websocket:direct:nobody", "msg_none")
                assert real == absent
                assert {error["code"] for _, error in real} == {1003}
                for alias in ("websocket:alice", "agent:main:websocket:alice", "websocket:alice:alice"):
                    assert await wire.code("chat.history", session_key=alias) == 1003
                assert (await wire.call("session.search", query="kiwi")) == {"hits": []}
                listed = await wire.call("session.list")
                assert key not in [s["session_key"] for s in listed["sessions"]]
        history = await alice.call("chat.history", session_key=key)
        assert [m["role"] for m in history["messages"]] == ["user", "assistant"]
        listed = await alice.call("session.list")
        assert [s["session_key"] for s in listed["sessions"]] == [key]


@pytest.mark.attack(34)
async def test_the_same_private_text_is_another_session_for_another_user(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client("alice") as alice, gateway.client("bob") as bob:
        assert (await alice.call("chat.send", text="kiwi", session_key="notes"))["session_key"] == "notes"
        assert await bob.code("chat.history", session_key="notes") == 1003
        await bob.call("chat.send", text="plum", session_key="notes")
        for wire, own, other in ((alice, "kiwi", "plum"), (bob, "plum", "kiwi")):
            shown = json.dumps(await wire.call("chat.history", session_key="notes"))
            assert own in shown and other not in shown
        await bob.call("session.delete", session_key="notes")
        assert await alice.code("chat.history", session_key="notes") == 0
        assert await bob.code("chat.history", session_key="notes") == 1003


async def test_keys_of_a_platform_are_made_by_its_adapter_alone(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for who in ("alice", "root"):
            async with gateway.client(who) as wire:
                for key in ("agent:main:telegram:direct:42", "telegram:42", "agent:main:telegram:group:-100",
                            "discord:1:2", "agent:main:feishu:group:oc_1:thread:t"):  # fmt: skip
                    for method, extra in (
                        ("chat.send", {"text": "x"}),
                        ("chat.history", {}),
                        ("session.subscribe", {}),
                    ):
                        assert await wire.code(method, session_key=key, **extra) == 1003, (who, key)


@pytest.mark.attack(30)
@pytest.mark.attack(31)
async def test_no_key_is_a_path_and_no_two_keys_are_one(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with running(home) as gateway, gateway.client() as wire:
        keys = [
            "../../x", "/etc/passwd", "..\\x", "%2e%2e/x", "CON", "x.", "-rf", "a:b", "a_b", "a/b", "A:B", "a:B", "é",
            "e\u0301", "Ａ", "A", ".", "..", "~", "$HOME", "x" * 255, "x" * 256, "x" * 512, "你好",
        ]  # fmt: skip
        for number, key in enumerate(keys):
            accepted = await wire.call("chat.send_stream", text=f"number {number}", session_key=key)
            assert accepted["session_key"] == key
        for number, key in enumerate(keys):
            messages = (await wire.call("chat.history", session_key=key))["messages"]
            assert [m["text"] for m in messages if m["role"] == "user"] == [f"number {number}"]
        for key in ("", "x" * 513, "a\u0000b", "a\nb", "x" * 4096, "\u202e"):
            assert await wire.code("chat.send", text="x", session_key=key) == -32602, key
    assert [p.name for p in tmp_path.iterdir()] == ["home"]
    outside = [p for p in home.rglob("*") if not p.resolve().is_relative_to(home.resolve())]
    assert outside == []


@pytest.mark.attack(35)
async def test_each_of_many_sees_his_own_marker_only(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client("alice") as alice, gateway.client("bob") as bob:
        started = [
            await wire.call("chat.send_stream", text=f"say marker-{name}", session_key=key)
            for name, wire in (("alice", alice), ("bob", bob)) for key in ("k1", "k2", "k3")
        ]  # fmt: skip
        for position, accepted in enumerate(started):
            await (alice if position < 3 else bob).done(accepted["message_id"])
        assert "marker-bob" not in json.dumps(alice.events)
        assert "marker-alice" not in json.dumps(bob.events)


@pytest.mark.attack(36)
async def test_the_same_ids_and_keys_of_two_users_are_two_things(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway, gateway.client("alice") as alice, gateway.client("bob") as bob:
        results = []
        for wire, text in ((alice, "one"), (bob, "two")):
            await wire.send({
                "jsonrpc": "2.0", "id": 7, "method": "chat.send",
                "params": {"text": f"say {text}", "session_key": "s", "idempotency_key": "same"},
            })  # fmt: skip
        for wire in (alice, bob):
            results.append((await wire.frame())["result"])
        assert results[0]["message_id"] != results[1]["message_id"]
        assert results[0]["text"] != results[1]["text"]


async def test_static_tokens_hold_what_their_role_holds(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for who, role in ROLES.items():
            assert (await gateway.rpc("connect", who))["result"]["role"] == role


async def test_an_admin_lists_groups_after_his_own(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        await gateway.rpc("chat.send", "boss", text="hi", session_key="one")
        await gateway.rpc("chat.send", "boss", text="hi", session_key="two")
        seen: list[str] = []
        cursor = None
        for _ in range(5):
            page = (await gateway.rpc("session.list", "boss", limit=1, **({"cursor": cursor} if cursor else {})))[
                "result"
            ]
            seen += [s["session_key"] for s in page["sessions"]]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert seen == ["two", "one"] and cursor is None
        assert (await gateway.rpc("session.list", "boss", cursor="nonsense"))["error"]["code"] == -32602

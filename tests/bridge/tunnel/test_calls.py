"""A real bridge, its ledger and its policy, against a gateway that a test plays frame by frame."""

import asyncio
import json
import sqlite3
import time
from typing import Any, cast

import pytest

from bridge.audit import verify
from bridge.confirm import approve
from bridge.database import Database
from bridge.ledger import Ledger
from bridge.settings import PolicySettings, ToolSettings
from tests.bridge.tunnel.conftest import Begin
from tests.fakes.raw_gateway import Link, RawGateway
from tests.fakes.tunnel_rig import BridgeRig, until

ASK = {"ask": ["add"], "idempotent": ["twice", "dies"]}


def text(frame: dict[str, Any]) -> str:
    assert frame["type"] == "MCP_RESPONSE", frame
    return str(frame["payload"]["result"]["content"][0]["text"])


def error(frame: dict[str, Any]) -> tuple[int, str]:
    assert frame["type"] == "ERROR", frame
    assert frame["payload"]["scope"] == "call"
    return frame["payload"]["code"], frame["payload"]["effect"]


async def again(bridge: BridgeRig, raw: RawGateway, *, crash: bool = True) -> Link:
    """Restart the bridge; the next link, welcomed."""
    number = len(raw.links)
    await bridge.restart()
    link = await raw.link(number)
    await link.welcome()
    return link


async def test_answered_and_kept_until_acknowledged(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"})
    assert text(await link.answer("c1", ack=False)) == "added a"
    link.socket.transport.abort()
    link = await raw.link()
    auth = await link.welcome()
    assert auth["payload"]["in_flight"] == [{"id": "c1", "state": "done"}]
    assert text(await link.answer("c1")) == "added a"
    await until(lambda: not bridge.outbox.answers)
    assert bridge.servers.count() == {"a": 1}


async def test_a_call_that_is_none_is_refused_until_that_is_acknowledged(begin: Begin, raw: RawGateway) -> None:
    _bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"}, deadline_ms=cast(int, "soon"))
    assert error(await link.answer("c1", ack=False)) == (1000, "none")
    odd = {"jsonrpc": "2.0", "id": "c2", "method": "tools/call", "params": "none"}
    await link.send(type="MCP_REQUEST", id="c2", payload=odd, ctl={"epoch": link.epoch}, sig="00")
    assert "params" in (await link.frame("ERROR"))["payload"]["message"]
    link.socket.transport.abort()
    link = await raw.link()
    auth = await link.welcome()
    assert auth["payload"]["in_flight"] == [{"id": "c1", "state": "done"}]
    assert error(await link.answer("c1")) == (1000, "none")


@pytest.mark.attack(80)
async def test_the_same_key_again(begin: Begin) -> None:
    """Answered from the ledger under the same and another id; other arguments are 1008; after ACK too."""
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"}, key="k")
    await link.answer("c1")
    await link.request("c1", "fs_add", {"key": "a"}, key="k", attempt=2)
    assert text(await link.answer("c1")) == "added a"
    await link.request("c2", "fs_add", {"key": "a"}, key="k")
    frame = await link.answer("c2")
    assert text(frame) == "added a" and frame["payload"]["id"] == "c2"
    await link.request("c3", "fs_add", {"key": "b"}, key="k")
    assert error(await link.answer("c3")) == (1008, "none")
    assert bridge.servers.count() == {"a": 1}


async def test_the_same_key_while_it_runs_attaches(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a", "seconds": 0.2}, key="k")
    await link.request("c1", "fs_add", {"key": "a", "seconds": 0.2}, key="k", attempt=2)
    await link.request("c2", "fs_add", {"key": "a", "seconds": 0.2}, key="k")
    await link.request("c3", "fs_add", {"key": "other"}, key="k")
    assert error(await link.answer("c3")) == (1008, "none")
    assert text(await link.answer("c1")) == text(await link.answer("c2")) == "added a"
    assert bridge.servers.count() == {"a": 1}


@pytest.mark.attack(80)
async def test_begun_before_a_crash(begin: Begin, raw: RawGateway) -> None:
    """2006 for what may not be repeated, also under the same key later; once more for what may."""
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a", "seconds": 30}, key="k1")
    await link.request("c2", "fs_twice", {"key": "b", "seconds": 0.3}, key="k2")
    await until(lambda: len(bridge.servers.count()) == 2)
    link = await again(bridge, raw)
    assert error(await link.answer("c1")) == (2006, "unknown")
    await link.request("c1", "fs_add", {"key": "a", "seconds": 30}, key="k1", attempt=2)
    assert error(await link.answer("c1")) == (2006, "unknown")
    await link.request("c2", "fs_twice", {"key": "b", "seconds": 0.3}, key="k2", attempt=2)
    assert text(await link.answer("c2")) == "added b"
    assert bridge.servers.count() == {"a": 1, "b": 2}


async def test_done_before_a_crash(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"}, key="k1")
    await link.answer("c1", ack=False)
    link = await again(bridge, raw)
    assert text(await link.answer("c1")) == "added a"
    assert bridge.servers.count() == {"a": 1}


async def test_cancel_is_always_answered(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_slow", {})
    await asyncio.wait_for(bridge.servers.begun.wait(), 5)
    await link.send(type="CANCEL", id="c1", payload={"reason": "stop"})
    assert error(await link.answer("c1", seconds=0.5)) == (1009, "unknown")
    assert bridge.servers.cancelled == 1
    await link.send(type="CANCEL", id="never", payload={"reason": "stop"})
    assert error(await link.answer("never")) == (1009, "none")
    await link.request("c2", "fs_add", {"key": "a"})
    await link.frame("MCP_RESPONSE", call_id="c2")
    await link.send(type="CANCEL", id="c2", payload={"reason": "late"})
    await link.send(type="PING", payload={"t": 1})
    await link.frame("PING")
    assert not [frame for frame in link.frames if frame["type"] == "ERROR"]


async def test_a_cancel_that_comes_with_its_call_is_answered_too(begin: Begin) -> None:
    """In one piece of input with the call, before anything of it has run."""
    bridge, link = await begin()
    calls = [f"c{number}" for number in range(30)]
    for call in calls:
        await link.request(call, "fs_slow", {})
    for call in calls:
        await link.send(type="CANCEL", id=call, payload={"reason": "stop"})
    for call in calls:
        assert error(await link.answer(call))[0] == 1009
    assert bridge.calls.running == 0


async def test_a_cancelled_question_has_no_effect(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK)
    await link.request("c1", "fs_add", {"key": "a"})
    await link.frame("PROGRESS", call_id="c1")
    await link.send(type="CANCEL", id="c1", payload={"reason": "stop"})
    assert error(await link.answer("c1")) == (1009, "none")
    assert bridge.servers.count() == {}


@pytest.mark.attack(80)
async def test_deadlines(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("late", "fs_add", {"key": "late"}, deadline_ms=0)
    assert error(await link.answer("late")) == (1004, "none")
    await link.request("c1", "fs_add", {"key": "a", "seconds": 5}, deadline_ms=200)
    assert error(await link.answer("c1")) == (1004, "unknown")
    assert bridge.servers.count() == {"a": 1}


async def test_a_servers_own_error_is_a_response(begin: Begin) -> None:
    _bridge, link = await begin()
    await link.request("c1", "fs_fails", {})
    frame = await link.answer("c1")
    assert frame["type"] == "MCP_RESPONSE"
    assert frame["payload"] == {"jsonrpc": "2.0", "id": "c1", "error": {"code": -32602, "message": "no such colour"}}


async def test_a_server_that_dies_in_a_call(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK)
    bridge.servers.deaths = 2
    await link.request("c1", "fs_dies", {"key": "a"})
    assert text(await link.answer("c1")) == "survived"
    assert bridge.servers.count() == {"a": 3}


async def test_a_server_that_dies_in_a_call_and_does_not_come_back(begin: Begin) -> None:
    """The person took it out of the configuration: what it had done is unknown, and not nothing."""
    bridge, link = await begin(rules=ASK)
    bridge.servers.deaths, bridge.servers.removed = 1, True
    await link.request("c1", "fs_dies", {"key": "a"})
    assert error(await link.answer("c1")) == (2006, "unknown")
    assert bridge.servers.count() == {"a": 1}


async def test_a_server_that_dies_in_a_call_not_to_be_repeated(begin: Begin) -> None:
    bridge, link = await begin(rules={"idempotent": []})
    bridge.servers.deaths = 1
    await link.request("c1", "fs_dies", {"key": "a"})
    assert error(await link.answer("c1")) == (2006, "unknown")
    assert bridge.servers.count() == {"a": 1}


@pytest.mark.attack(47)
@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"method": "servers/start", "params": {"name": "x", "command": "sh", "args": ["-c", "id"]}}, 2004),
        ({"method": "resources/read", "params": {"name": "x", "uri": "file:///etc/passwd"}, "server": "evil"}, 2004),
        ({"params": {"name": "nowhere_tool", "arguments": {}}}, 1003),
    ],
)
async def test_operations_the_bridge_does_not_have(begin: Begin, more: dict[str, Any], code: int) -> None:
    _bridge, link = await begin()
    await link.request("c1", "x", **more)
    assert error(await link.answer("c1")) == (code, "none")


@pytest.mark.attack(47)
async def test_nothing_but_name_and_arguments_reaches_the_server(begin: Begin) -> None:
    bridge, link = await begin()
    seen: list[Any] = []
    original = bridge.servers.request

    async def spy(tool: str, method: str, params: Any, *rest: Any) -> Any:
        seen.append(params)
        return await original(tool, method, params, *rest)

    bridge.servers.request = spy
    params = {"name": "fs_echo", "arguments": {"text": "a"}, "command": "sh", "env": {"A": "b"}, "cwd": "/"}
    await link.request("c1", "fs_echo", params=params)
    await link.answer("c1")
    assert seen == [{"name": "fs_echo", "arguments": {"text": "a"}}]


async def test_resources_are_read(begin: Begin) -> None:
    bridge, link = await begin(policy={"default": "allow"})
    params = {"name": "fs", "uri": "demo://x"}
    await link.request("c1", "fs", method="resources/read", params=params, server="fs")
    frame = await link.answer("c1")
    assert frame["payload"]["result"]["contents"][0]["uri"] == "demo://x"
    assert bridge.calls.finished == 1


async def test_a_rule_on_paths_holds_for_resources_too(begin: Begin) -> None:
    bridge, link = await begin(
        rules={"deny": [{"tool": "*", "paths": {"uri": ["/secret"]}}]}, policy={"default": "allow"}
    )
    for uri, refused in (("file:///secret/key", True), ("file:///elsewhere", False)):
        params = {"name": "fs", "uri": uri}
        await link.request(uri, "fs", method="resources/read", params=params, server="fs")
        frame = await link.frame("ERROR", "MCP_RESPONSE", call_id=uri)
        assert (frame["type"] == "ERROR" and frame["payload"]["code"] == 2004) is refused
    assert bridge.calls.finished == 2


# ---------------------------------------------------------------- confirmations


async def asked(link: Link, call_id: str = "c1", key: str = "a", **more: Any) -> dict[str, Any]:
    await link.request(call_id, "fs_add", {"key": key}, **more)
    payload: dict[str, Any] = (await link.frame("PROGRESS", call_id=call_id))["payload"]
    assert payload["state"] == "awaiting_confirm"
    return payload


def yes(challenge: str, decision: str = "allow_once") -> dict[str, Any]:
    return {"challenge": challenge, "decision": decision, "by": "alice", "at": "2026-01-01T00:00:00.000Z"}


async def test_a_question_and_its_yes(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    assert question["arguments"] == {"key": "a"} and question["risk"] and 59_000 < question["expires_in_ms"] <= 60_000
    assert bridge.servers.count() == {}
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    assert text(await link.answer("c1")) == "added a"


@pytest.mark.attack(46)
async def test_a_yes_is_spent_by_its_call(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    await link.answer("c1")
    await link.request("c2", "fs_add", {"key": "a"}, confirm=yes(question["challenge"]))
    assert error(await link.answer("c2")) == (2004, "none")
    await link.request("c1", "fs_add", {"key": "a"}, key="fresh", attempt=9, confirm=yes(question["challenge"]))
    assert error(await link.answer("c1")) == (2004, "none")
    assert bridge.servers.count() == {"a": 1}


@pytest.mark.attack(46)
async def test_a_yes_to_one_call_is_none_to_another(begin: Begin) -> None:
    """Approved with arguments A, run with arguments B; and two questions with their answers swapped."""
    bridge, link = await begin(rules=ASK)
    first, second = await asked(link, "c1", "a"), await asked(link, "c2", "b")
    await link.request("c1", "fs_add", {"key": "evil"}, attempt=2, confirm=yes(first["challenge"]))
    refused = await link.frame("ERROR")
    assert refused["payload"]["code"] == 1008 and "id" not in refused
    await link.request("c1", "fs_add", {"key": "a"}, attempt=3, confirm=yes(second["challenge"]))
    assert error(await link.answer("c1")) == (2004, "none")
    await link.request("c2", "fs_add", {"key": "b"}, attempt=2, confirm=yes("made-up"))
    assert error(await link.answer("c2")) == (2004, "none")
    await link.request("c3", "fs_add", {"key": "c"}, confirm={"user_confirmation": True})
    assert error(await link.answer("c3")) == (2004, "none")
    assert bridge.servers.count() == {}


async def test_denied_and_expired(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK, policy={"default": "allow", "ask_timeout": 0.3})
    question = await asked(link)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"], "deny"))
    assert error(await link.answer("c1")) == (2004, "none")
    question = await asked(link, "c2")
    assert error(await link.answer("c2")) == (2004, "none")
    await link.request("c2", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    assert error(await link.answer("c2")) == (2004, "none")
    assert bridge.servers.count() == {}


async def test_local_takes_no_yes_from_the_gateway(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK, policy={"default": "allow", "confirm": "local"})
    question = await asked(link)
    assert question["where"] == "bridge"
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    refused = await link.frame("ERROR")
    assert refused["payload"]["code"] == 1002 and "id" not in refused
    assert bridge.servers.count() == {}
    assert approve(bridge.database, question["challenge"])
    assert text(await link.answer("c1")) == "added a"


async def test_a_grant_is_for_that_user_and_that_session(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    confirm = yes(question["challenge"], "allow_session")
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=confirm)
    await link.answer("c1")
    await link.request("c2", "fs_add", {"key": "b"})
    assert text(await link.answer("c2")) == "added b"
    actor = {"user": "alice", "channel": "cli", "session_key": "s2"}
    await link.request("c3", "fs_add", {"key": "c"}, actor=actor)
    assert (await link.frame("PROGRESS", call_id="c3"))["payload"]["state"] == "awaiting_confirm"
    await link.request("c4", "fs_add", {"key": "d"}, actor={**actor, "user": "bob", "session_key": "s1"})
    assert (await link.frame("PROGRESS", call_id="c4"))["payload"]["state"] == "awaiting_confirm"
    await link.send(type="GRANTS", payload={"revoke": [{"user": "alice", "tool": "fs_add", "session_key": "s1"}]})
    await link.request("c5", "fs_add", {"key": "e"})
    assert (await link.frame("PROGRESS", call_id="c5"))["payload"]["state"] == "awaiting_confirm"
    assert bridge.servers.count() == {"a": 1, "b": 1}


async def test_a_question_asked_before_a_restart_may_be_answered_after_it(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    link = await again(bridge, raw)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    assert text(await link.answer("c1")) == "added a"
    await link.request("c2", "fs_add", {"key": "a"}, confirm=yes(question["challenge"]))
    assert error(await link.answer("c2")) == (2004, "none")


async def test_a_question_is_asked_on_after_a_restart_and_the_terminals_yes_still_counts(
    begin: Begin, raw: RawGateway
) -> None:
    """Under the id that the person was shown: whether it was answered before the call came again, or after."""
    bridge, link = await begin(rules=ASK)
    first, second = await asked(link, "c1", "a"), await asked(link, "c2", "b")
    assert approve(bridge.database, first["challenge"])
    link = await again(bridge, raw)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2)
    assert text(await link.answer("c1")) == "added a"
    same = await asked(link, "c2", "b", attempt=2)
    assert same["challenge"] == second["challenge"] and same["expires_in_ms"] < second["expires_in_ms"]
    assert approve(bridge.database, second["challenge"])
    assert text(await link.answer("c2")) == "added b"
    assert not approve(bridge.database, second["challenge"])
    await link.request("c2", "fs_add", {"key": "b"}, attempt=3, key="another")
    assert (await link.frame("PROGRESS", call_id="c2"))["payload"]["challenge"] != second["challenge"]
    assert bridge.servers.count() == {"a": 1, "b": 1}


async def test_local_takes_no_yes_from_the_gateway_after_a_restart_either(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin(rules=ASK, policy={"default": "allow", "confirm": "local"})
    question = await asked(link)
    link = await again(bridge, raw)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    refused = await link.frame("ERROR")
    assert refused["payload"]["code"] == 1002 and "id" not in refused
    assert (await link.frame("PROGRESS", call_id="c1"))["payload"]["challenge"] == question["challenge"]
    assert bridge.servers.count() == {}
    assert approve(bridge.database, question["challenge"])
    assert text(await link.answer("c1")) == "added a"


async def test_a_yes_after_a_restart_is_used_once(begin: Begin, raw: RawGateway) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    link = await again(bridge, raw)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    assert text(await link.answer("c1")) == "added a"
    await link.request("c1", "fs_add", {"key": "a"}, attempt=3, key="another")
    assert (await link.frame("PROGRESS", call_id="c1"))["payload"]["challenge"] != question["challenge"]
    assert bridge.servers.count() == {"a": 1}


async def test_what_is_always_allowed_does_not_cover_dangerous_words(begin: Begin) -> None:
    _, link = await begin(rules={"ask": ["*"]})
    await link.request("c1", "fs_delete_all", {})
    question = (await link.frame("PROGRESS", call_id="c1"))["payload"]
    await link.request("c1", "fs_delete_all", {}, attempt=2, confirm=yes(question["challenge"], "allow_always"))
    await link.answer("c1")
    await link.request("c2", "fs_delete_all", {})
    assert (await link.frame("PROGRESS", "MCP_RESPONSE", call_id="c2"))["type"] == "PROGRESS"
    await link.request("s1", "fs_run_shell", {"line": "ls"})
    question = (await link.frame("PROGRESS", call_id="s1"))["payload"]
    await link.request(
        "s1", "fs_run_shell", {"line": "ls"}, attempt=2, confirm=yes(question["challenge"], "allow_always")
    )
    await link.answer("s1")
    await link.request("s2", "fs_run_shell", {"line": "pwd"})
    await link.answer("s2")
    await link.request("s3", "fs_run_shell", {"line": "rm -rf ~"})
    assert (await link.frame("PROGRESS", "MCP_RESPONSE", call_id="s3"))["type"] == "PROGRESS"


@pytest.mark.attack(75)
async def test_a_clock_that_is_set_back_gives_nobody_more_time(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither to a question that is open, nor to one that was asked before a restart."""
    bridge, link = await begin(rules=ASK, policy={"default": "allow", "ask_timeout": 0.4})
    await asked(link)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    assert error(await asyncio.wait_for(link.answer("c1"), 3)) == (2004, "none")
    assert bridge.servers.count() == {}


@pytest.mark.attack(75)
async def test_a_clock_that_was_set_back_meanwhile_revives_no_question(
    begin: Begin, raw: RawGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 3600)
    link = await again(bridge, raw)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    assert error(await link.answer("c1")) == (2004, "none")
    assert bridge.servers.count() == {}


async def test_once_only_the_terminal_counts_what_the_chat_allowed_counts_no_more(
    begin: Begin, raw: RawGateway
) -> None:
    """`confirm: local` means that not even the gateway can answer: nor by what it has answered before."""
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"], "allow_always"))
    assert text(await link.answer("c1")) == "added a"
    bridge.policy = PolicySettings(default="allow", confirm="local")
    question = await asked(link, "c2", "b")
    assert approve(bridge.database, question["challenge"], "allow_always")
    assert text(await link.answer("c2")) == "added b"
    await link.request("c3", "fs_add", {"key": "c"})
    assert text(await link.answer("c3")) == "added c"
    link = await again(bridge, raw)
    await link.request("c4", "fs_add", {"key": "d"})
    assert text(await link.answer("c4")) == "added d"
    await link.send(type="GRANTS", payload={"revoke": [{"user": "alice", "tool": "fs_add"}]})
    await asked(link, "c5", "e")
    assert bridge.servers.count() == dict.fromkeys("abcd", 1)


async def test_a_question_that_is_open_while_the_policy_changes_is_the_terminals(begin: Begin) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    bridge.policy = PolicySettings(default="allow", confirm="local")
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    refused = await link.frame("ERROR")
    assert refused["payload"]["code"] == 1002 and "id" not in refused
    assert approve(bridge.database, question["challenge"])
    assert text(await link.answer("c1")) == "added a"
    assert bridge.servers.count() == {"a": 1}


@pytest.mark.parametrize("by", ["chat", "terminal"])
async def test_a_tool_that_is_denied_while_its_question_is_open_is_not_run_by_a_yes(begin: Begin, by: str) -> None:
    bridge, link = await begin(rules=ASK)
    question = await asked(link)
    bridge.servers.rules = ToolSettings.model_validate({"deny": ["add"]})
    if by == "chat":
        await link.request("c1", "fs_add", {"key": "a"}, attempt=2, confirm=yes(question["challenge"]))
    else:
        assert approve(bridge.database, question["challenge"])
    assert error(await link.answer("c1")) == (2004, "none")
    assert bridge.servers.count() == {}


# ---------------------------------------------------------------- the audit log, the disk


async def test_intent_and_outcome_are_recorded_without_contents(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "canary-secret"}, traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01")
    await link.answer("c1")
    await bridge.stop()
    log = bridge.folder / "audit.jsonl"
    assert verify(log).ok
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert [record["event"] for record in records] == ["tool.intent", "tool.outcome"]
    intent, outcome = records
    assert intent["tool"] == "fs_add" and intent["user"] == "alice" and len(intent["arguments_sha256"]) == 64
    assert intent["shape"] == {"key": "text(13)"} and intent["trace_id"] == "a" * 32
    assert outcome["call_id"] == "c1" and outcome["effect"] == "done"
    assert "canary-secret" not in log.read_text()
    await bridge.start()


async def test_no_audit_no_call(begin: Begin) -> None:
    """What may not be repeated needs its record first; what the person called idempotent goes on."""
    bridge, link = await begin()
    assert bridge._trail is not None
    bridge._trail._audit.close()
    await link.request("c1", "fs_add", {"key": "a"})
    assert error(await link.answer("c1")) == (1007, "none")
    await link.request("c2", "fs_twice", {"key": "b"})
    assert text(await link.answer("c2")) == "added b"
    assert bridge.servers.count() == {"b": 1}


async def test_no_ledger_no_call(begin: Begin) -> None:
    """A database that refuses to write: nothing that may not be repeated is begun."""
    bridge, link = await begin()
    other = sqlite3.connect(bridge.folder / "bridge.db")
    other.execute("CREATE TRIGGER full BEFORE INSERT ON calls BEGIN SELECT RAISE(ABORT, 'disk full'); END")
    other.commit()
    other.close()
    await link.request("c1", "fs_add", {"key": "a"})
    assert error(await link.answer("c1")) == (1007, "none")
    assert bridge.servers.count() == {}


async def test_a_ledger_that_was_lost(begin: Begin, raw: RawGateway) -> None:
    """A call that was sent before, to a bridge whose ledger was damaged since: nobody knows, so 2006."""
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"})
    await link.answer("c1")
    await bridge.stop()
    for suffix in ("-wal", "-shm"):
        (bridge.folder / f"bridge.db{suffix}").unlink(missing_ok=True)
    (bridge.folder / "bridge.db").write_bytes(b"this is no database" * 1000)
    number = len(raw.links)
    await bridge.start()
    link = await raw.link(number)
    await link.welcome()
    assert list(bridge.folder.glob("bridge.db.damaged-*"))
    await link.request("c1", "fs_add", {"key": "a"}, attempt=2)
    assert error(await link.answer("c1")) == (2006, "unknown")
    await link.request("c2", "fs_add", {"key": "b"})
    assert text(await link.answer("c2")) == "added b"
    assert bridge.servers.count() == {"a": 1, "b": 1}


async def test_the_ledgers_own_file(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"}, key="k")
    await link.answer("c1")
    assert (bridge.folder / "bridge.db").stat().st_mode & 0o777 == 0o600
    await until(lambda: bridge.database.read("SELECT state FROM calls") == [("acknowledged",)])
    bridge.database.write(("UPDATE calls SET updated = 0", ()))
    Ledger(bridge.database).prune()
    await until(lambda: bridge.database.read("SELECT state FROM calls") == [])


async def test_an_answer_is_not_kept_for_longer_because_no_other_call_comes(begin: Begin) -> None:
    """Those who read the file months later find what was done that day, and nothing of what was answered."""
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a"}, key="k")
    await link.answer("c1")
    await until(lambda: bridge.database.read("SELECT state FROM calls") == [("acknowledged",)])
    assert bridge.database.read("SELECT answer FROM calls WHERE answer IS NOT NULL") != []
    bridge.database.write(("UPDATE calls SET updated = updated - 3601", ()))
    keeping = asyncio.create_task(Ledger(bridge.database).keep_tidy(0.02))
    await until(lambda: bridge.database.read("SELECT state, answer FROM calls") == [("acknowledged", None)])
    keeping.cancel()
    await asyncio.gather(keeping, return_exceptions=True)


def test_a_newer_database_is_refused(tmp_path: Any) -> None:
    from bridge.database import NewerDatabase

    path = tmp_path / "bridge.db"
    Database(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version=99")
    other.close()
    with pytest.raises(NewerDatabase, match="newer"):
        Database(path)


async def test_a_call_that_comes_before_its_server_is_ready_waits(begin: Begin) -> None:
    """The gateway sends again at once what a bridge that was restarted does not list; its servers only start then."""
    bridge, link = await begin()
    route, catalogue = bridge.servers.route, bridge.servers.catalogue
    state = "starting"
    bridge.servers.route = lambda tool, method: None if state == "starting" else route(tool, method)
    bridge.servers.catalogue = lambda: catalogue() | {"servers": [{"name": "fs", "state": state}]}
    await link.request("c1", "fs_add", {"key": "a"})
    with pytest.raises(TimeoutError):
        await link.answer("c1", seconds=0.2)
    state = "ready"
    assert text(await link.answer("c1")) == "added a"
    await link.request("c2", "fs_nowhere", {})
    assert error(await link.answer("c2")) == (1003, "none")


async def test_a_cancel_that_comes_while_the_answer_is_written_down_changes_nothing(begin: Begin) -> None:
    bridge, link = await begin()
    await link.request("c1", "fs_add", {"key": "a", "seconds": 0.05})
    await bridge.servers.begun.wait()
    other = sqlite3.connect(bridge.folder / "bridge.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # the file takes its time
    await asyncio.sleep(0.15)
    await link.send(type="CANCEL", id="c1", payload={"reason": "enough"})
    await asyncio.sleep(0.1)
    other.execute("COMMIT")
    other.close()
    assert text(await link.answer("c1")) == "added a"
    await until(lambda: not bridge.outbox.answers)
    assert bridge.calls.running == 0 and bridge.servers.count() == {"a": 1}


async def test_a_question_whose_call_ends_while_it_is_written_down_is_not_asked_again(begin: Begin) -> None:
    bridge, link = await begin(ASK)
    other = sqlite3.connect(bridge.folder / "bridge.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    await link.request("c1", "fs_add", {"key": "a"})
    await until(lambda: bridge.confirmations.repeat("c1") is not None)
    await link.send(type="CANCEL", id="c1", payload={"reason": "enough"})
    await asyncio.sleep(0.1)
    other.execute("COMMIT")
    other.close()
    assert error(await link.answer("c1")) == (1009, "none")
    assert bridge.confirmations.repeat("c1") is None

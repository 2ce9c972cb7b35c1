"""The supervisor through the whole gateway: what waits for a yes, who pays, what a schedule may, how soon it stops."""

import asyncio
import json
import sys
import time
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.gateway_process import ALICE, BOB, Client, GatewayProcess, Refused, gateway_process
from tests.fakes.openai_server import OpenAIServer
from tests.fakes.raw_bridge import RawBridge

EFFECTS = str(Path(__file__).parent.parent / "fakes" / "effects_server.py")
ASK = '!tool effects_append_line {"line": "done"}'
PLAN = 'say {"parts": [{"title": "one", "task": "task-one"}, {"title": "two", "task": "task-two"}]}'
KEY = "agent:main:websocket:direct:alice"


@asynccontextmanager
async def house(
    tmp_path: Path, *, ask: bool | dict[str, Any] = True, **more: Any
) -> AsyncIterator[tuple[GatewayProcess, OpenAIServer]]:
    """A gateway with a cloud MCP server that leaves traces, and a scripted model with a price."""
    async with OpenAIServer() as model:
        configuration: dict[str, Any] = {
            "models": [{"name": "main", "base_url": model.url, "api_key": "k", "model": "m", "input_price": 1.0,
                        "output_price": 10.0, "cached_price": 0.1}],
            "mcp_servers": [{
                "name": "effects", "command": sys.executable, "args": [EFFECTS, str(tmp_path / "effects.txt")],
                **(ask if isinstance(ask, dict) else {"tools": {"ask": ["*"]} if ask else {}}),
            }],
            "limits": {"drain_seconds": 0.2},
        }  # fmt: skip
        async with gateway_process(tmp_path / "home", configuration | more) as gateway:
            async with Client(gateway.ws) as client, asyncio.timeout(20):
                while "effects_append_line" not in str(await client.call("tools.list")):
                    await asyncio.sleep(0.05)
            yield gateway, model


def effects(tmp_path: Path) -> list[str]:
    file = tmp_path / "effects.txt"
    return file.read_text().splitlines() if file.exists() else []


async def answer(client: Client, message_id: str, seconds: float = 15) -> str:
    """The answer as it stands in the history."""
    async with asyncio.timeout(seconds):
        while True:
            for message in (await client.call("chat.history", session_key=KEY))["messages"]:
                if message["role"] == "assistant" and message["message_id"] == message_id and message["text"]:
                    return str(message["text"])
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(("how", "drain_seconds"), [("kill", 0.2), ("stop", 0.2), ("stop", 60)])
@pytest.mark.attack(46)
async def test_what_waits_for_a_yes_survives_a_restart_and_is_done_once(
    tmp_path: Path, how: str, drain_seconds: float
) -> None:
    """Nor does a stop wait for somebody who may answer tomorrow."""
    async with house(tmp_path, limits={"drain_seconds": drain_seconds}) as (gateway, model):
        async with Client(gateway.ws) as client:
            turn = (await client.call("chat.send_stream", text=ASK))["message_id"]
            asked = (await client.until(lambda: client.of(turn, "approval.requested")))[0]
            # it holds up neither another session nor another call
            assert (await client.ask("hello", session_key="elsewhere"))["type"] == "chat.done"
            async with asyncio.timeout(15):
                await (gateway.kill() if how == "kill" else gateway.stop())
        await gateway.start()
        async with Client(gateway.ws) as client:
            async with asyncio.timeout(10):
                while not (waiting := (await client.call("approval.list"))["approvals"]):
                    await asyncio.sleep(0.02)
            assert waiting[0]["approval_id"] == asked["approval_id"] and waiting[0]["arguments"] == {"line": "done"}
            assert effects(tmp_path) == []
            said = await client.ask(f"/approve {asked['approval_id']}", session_key="on another channel")
            assert said["text"] == "Allowed."
            assert "appended done" in await answer(client, turn)
            with pytest.raises(Refused) as spent:
                await client.call("approval.resolve", approval_id=asked["approval_id"], decision="allow_once")
            assert spent.value.code == 1003
            assert effects(tmp_path) == ["done"]
            # what the cut attempt had used is in the sums
            used = (await client.call("usage.get", days=1))["total"]
            assert used["total_tokens"] == sum(u["total_tokens"] for u in model.usage)
            assert used["tool_calls"] == 1


@pytest.mark.parametrize("how", ["kill", "stop"])
async def test_a_sub_agents_question_survives_too_and_what_it_did_is_not_done_again(tmp_path: Path, how: str) -> None:
    rules = {"tools": {"ask": ["append_slowly"]}}
    async with house(tmp_path, ask=rules, agent={"mode": "multi"}) as (gateway, model):
        model.script = [
            {"match": "Results of the parts", "do": "echo"},
            {"match": "task-one", "do": ASK.removeprefix("!")},
            {"match": "task-two", "do": 'tool effects_append_slowly {"line": "asked", "seconds": 0}'},
            {"match": "divide this", "do": PLAN},
        ]
        async with Client(gateway.ws) as client:
            turn = (await client.call("chat.send_stream", text="divide this"))["message_id"]
            asked = (await client.until(lambda: client.of(turn, "approval.requested")))[0]
            await client.until(lambda: [e for e in client.of(turn, "agent.note") if e["state"] == "finished"])
            assert effects(tmp_path) == ["done"]
            await (gateway.kill() if how == "kill" else gateway.stop())
        await gateway.start()
        async with Client(gateway.ws) as client:
            async with asyncio.timeout(10):
                while not (await client.call("approval.list"))["approvals"]:
                    await asyncio.sleep(0.02)
            await client.call("approval.resolve", approval_id=asked["approval_id"], decision="allow_once")
            text = await answer(client, turn)
        assert "appended asked" in text and "appended done" in text
        assert effects(tmp_path) == ["done", "asked"]


async def test_a_grant_is_listed_and_revoked_in_the_chat(tmp_path: Path) -> None:
    async with house(tmp_path) as (gateway, _), Client(gateway.ws) as client:
        turn = (await client.call("chat.send_stream", text=ASK))["message_id"]
        asked = (await client.until(lambda: client.of(turn, "approval.requested")))[0]
        await client.ask(f"/approve {asked['approval_id']} always", session_key="other")
        await client.end(turn)
        done = await client.ask(ASK + "\nagain")
        assert not client.of(done["message_id"], "approval.requested")
        listed = (await client.ask("/approvals"))["text"]
        grant = listed.split("`")[1]
        assert "effects_append_line" in listed
        assert (await client.ask(f"/approvals revoke {grant}"))["text"] == "Revoked."
        turn = (await client.call("chat.send_stream", text=ASK + "\nthird"))["message_id"]
        await client.until(lambda: client.of(turn, "approval.requested"))
        await client.ask("/stop")
        assert (await client.end(turn))["code"] == 1009
        assert (await client.call("approval.list"))["approvals"] == []
        assert effects(tmp_path) == ["done", "done"]


@pytest.mark.attack(50)
async def test_sub_agents_and_schedules_pass_the_same_guard(tmp_path: Path) -> None:
    async with house(tmp_path, agent={"mode": "multi"}) as (gateway, model), Client(gateway.ws) as client:
        model.script = [
            {"match": "Results of the parts", "do": "echo"},
            {"match": "task-one", "do": ASK.removeprefix("!")},
            {"match": "task-two", "do": "say two is done"},
            {"match": "divide this", "do": PLAN},
            {"match": "append later", "do": ASK.removeprefix("!")},
        ]
        turn = (await client.call("chat.send_stream", text="divide this"))["message_id"]
        asked = (await client.until(lambda: client.of(turn, "approval.requested")))[0]
        assert effects(tmp_path) == []
        await client.call("approval.resolve", approval_id=asked["approval_id"], decision="deny")
        done = await client.end(turn)
        assert done["type"] == "chat.done" and "2004" in done["text"] and effects(tmp_path) == []
        notes = [e for e in client.of(turn) if e["type"] == "agent.note"]
        assert {e["agent"] for e in notes} == {"supervisor", "1", "2"}
        assert all(e.get("agent") for e in client.of(turn, "tool.started"))
        # a reminder: nobody is there who could be asked
        await client.call("session.subscribe", session_key=KEY)
        model.script.insert(0, {"match": "plan it", "do": "tool schedule " + json.dumps(
            {"action": "add", "text": "append later", "at": "in 1 second"})})  # fmt: skip
        await client.ask("/mode single")
        done = await client.ask("plan it")
        told = await client.until(
            lambda: [e for e in client.events if e["type"] == "chat.done" and "2007" in e["text"]], 10
        )
        assert told[0]["session_key"] == KEY
        assert effects(tmp_path) == []


async def test_the_operators_rules_hold_by_tool_role_and_person_on_every_path(tmp_path: Path) -> None:
    rules = [
        {"tools": ["effects_*"], "roles": ["user"], "policy": "ask"},
        {"tools": ["effects_append_line"], "users": ["bob"], "policy": "deny"},
        {"tools": ["*"], "roles": ["owner"], "policy": "allow"},  # makes nothing laxer
    ]
    async with house(tmp_path, ask=False, tools={"rules": rules}) as (gateway, _):
        async with Client(gateway.ws, BOB) as bob:
            done = await bob.ask(ASK)
            assert done["type"] == "chat.done" and effects(tmp_path) == []
            with pytest.raises(Refused) as denied:
                await bob.call("tools.call", name="effects_append_line", arguments={"line": "x"})
            assert denied.value.code == 2004
            listed = {tool["name"]: tool["policy"] for tool in (await bob.call("tools.list"))["tools"]}
            assert (listed["effects_append_line"], listed["effects_append_slowly"]) == ("deny", "ask")
            assert listed["clock"] == "allow"
        async with Client(gateway.ws) as alice:
            turn = (await alice.call("chat.send_stream", text=ASK))["message_id"]
            asked = (await alice.until(lambda: alice.of(turn, "approval.requested")))[0]
            await alice.call("approval.resolve", approval_id=asked["approval_id"], decision="allow_once")
            await alice.end(turn)
            assert effects(tmp_path) == ["done"]
        async with Client(gateway.ws, (gateway.home / "admin.token").read_text().strip()) as owner:
            assert not (await owner.call("tools.call", name="effects_append_line", arguments={"line": "o"}))["is_error"]
        assert effects(tmp_path) == ["done", "o"]


async def test_a_days_budget_is_a_stop_with_the_time_of_renewal(tmp_path: Path) -> None:
    budgets = {"daily_tokens": 2000, "warn_at": 0.1}
    async with house(tmp_path, ask=False, budgets=budgets) as (gateway, model), Client(gateway.ws) as client:
        model.script = [{"match": "big", "do": "say " + "word " * 1500}]
        await client.ask("big one")
        noted = await client.ask("small")
        used = (await client.call("usage.get"))["total"]
        assert used["total_tokens"] == sum(u["total_tokens"] for u in model.usage)
        cost = sum(
            (u["prompt_tokens"] - u["prompt_tokens_details"]["cached_tokens"]) * 1.0
            + u["prompt_tokens_details"]["cached_tokens"] * 0.1
            + u["completion_tokens"] * 10.0
            for u in model.usage
        )
        assert abs(used["cost"] - cost / 1e6) < 1e-9
        asked = len(model.requests)
        if noted["type"] == "chat.done":
            assert any(e["type"] == "agent.note" and "budget" in e["agent"] for e in client.of(noted["message_id"]))
            model.script = []
            await client.ask("big again " + "x" * 4000)
            asked = len(model.requests)
        stopped = await client.ask("one more")
        assert (stopped["type"], stopped["code"], stopped["retryable"]) == ("chat.error", 1005, True)
        assert 0 < stopped["retry_after_ms"] <= 86_400_000 and len(stopped["trace_id"]) == 32
        assert len(model.requests) == asked
        assert str(used["total_tokens"])[:1] in (await client.ask("/usage"))["text"]
        async with Client(gateway.ws, "bob-token-0123456789abcdef0123456789ab") as bob:
            assert (await bob.ask("hello"))["type"] == "chat.done"
        await gateway.kill()
        await gateway.start()
        async with Client(gateway.ws) as again:
            assert (await again.ask("still"))["code"] == 1005


async def test_the_sums_agree_over_parts_retries_and_stopped_turns(tmp_path: Path) -> None:
    async with house(tmp_path, ask=False) as (gateway, model), Client(gateway.ws) as client:
        model.script = [
            {"match": "Results of the parts", "do": "say all"},
            {"match": "task-one", "do": ASK.removeprefix("!")},
            {"match": "task-two", "do": "say two"},
            {"match": "divide", "do": PLAN},
            {"match": "unlucky", "do": "status 503", "count": 1},
            {"match": "unlucky", "do": "say lucky"},
        ]
        await client.ask("/mode multi")
        assert "main: ready" in (await client.ask("/status"))["text"]
        done = await client.ask("divide")
        assert done["text"] == "all" and done["usage"]["total_tokens"] == sum(u["total_tokens"] for u in model.usage)
        await client.ask("/mode single")
        assert (await client.ask("unlucky"))["text"] == "lucky"
        turn = await client.call("chat.send_stream", text='!tool effects_append_slowly {"line": "s", "seconds": 30}')
        await client.until(lambda: client.of(turn["message_id"], "tool.started"))
        await client.call("chat.abort", message_id=turn["message_id"])
        await client.end(turn["message_id"])
        used = (await client.call("usage.get"))["total"]
        for ours, theirs in (("total_tokens", "total_tokens"), ("prompt_tokens", "prompt_tokens"),
                             ("completion_tokens", "completion_tokens")):  # fmt: skip
            assert used[ours] == sum(u[theirs] for u in model.usage)
        assert used["cached_tokens"] == sum(u["prompt_tokens_details"]["cached_tokens"] for u in model.usage) > 0
        assert used["turns"] == 3
        with urllib.request.urlopen(gateway.url + "/metrics") as page:
            figures = page.read().decode()
        assert (
            'gateway_model_failures_total{model="main"} 1.0' in figures and "gateway_model_retries_total 1.0" in figures
        )
        assert 'gateway_modes_chosen_total{mode="multi"} 1.0' in figures


@pytest.mark.parametrize("what", ["silent", "tool"])
async def test_stop_reaches_the_model_and_the_tool_within_100_ms(tmp_path: Path, what: str) -> None:
    async with house(tmp_path, ask=False) as (gateway, model), Client(gateway.ws) as client:
        text = "!stalling" if what == "silent" else '!tool effects_append_slowly {"line": "slow", "seconds": 30}'
        times = []
        for _ in range(3):
            turn = (await client.call("chat.send_stream", text=text))["message_id"]
            event = "chat.delta" if what == "silent" else "tool.started"
            await client.until(lambda t=turn, e=event: client.of(t, e))
            began = time.monotonic()
            await client.call("chat.send_stream", text="/stop")
            end = await client.end(turn)
            while model.open:
                await asyncio.sleep(0.001)
            times.append(time.monotonic() - began)
            assert end["code"] == 1009
        assert min(times) < 0.1, times


async def test_stop_reaches_the_bridge_within_100_ms(tmp_path: Path) -> None:
    async with (
        house(tmp_path, ask=False) as (gateway, _),
        RawBridge(gateway.ws.removesuffix("/ws") + "/tunnel") as laptop,
        Client(gateway.ws) as client,
    ):
        await laptop.auth(ALICE)
        await laptop.tools("fs_wait")
        async with asyncio.timeout(5):
            while "fs_wait" not in str(await client.call("tools.list")):
                await asyncio.sleep(0.02)
        times = []
        for _ in range(3):
            turn = (await client.call("chat.send_stream", text="!tool fs_wait {}"))["message_id"]
            asked = await laptop.frame("MCP_REQUEST")
            assert asked["ctl"]["traceparent"].startswith("00-")
            began = time.monotonic()
            await client.call("chat.send_stream", text="/stop")
            assert (await laptop.frame("CANCEL"))["id"] == asked["id"]
            times.append(time.monotonic() - began)
            refusal = {"code": 1009, "message": "cancelled", "scope": "call", "retryable": False, "effect": "none"}
            await laptop.send(type="ERROR", id=asked["id"], payload=refusal)
            assert (await client.end(turn))["code"] == 1009
        assert min(times) < 0.1, times

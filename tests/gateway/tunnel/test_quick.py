"""Calls that go through the bridge without a task, over a real server: the promises are those of the long way."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from agent.ports.tools import ApprovalAsked, Progress, ToolResult
from bridge.aggregator import Aggregator
from bridge.servers.groups import ProcessGroups
from bridge.settings import PolicySettings
from bus.errors import GatewayError, TimedOut
from tests.bridge.conftest import hostile
from tests.fakes.tunnel_rig import BridgeRig, Caller, GatewayRig, tool_call, until


class Watched(Aggregator):
    """An aggregator that counts the calls which took the long way."""

    long_way = 0

    async def request(self, *arguments: Any, **named: Any) -> dict[str, Any]:
        self.long_way += 1
        return await super().request(*arguments, **named)


@asynccontextmanager
async def world(
    folder: Path, *, tools: dict[str, Any] | None = None, **settings: Any
) -> AsyncIterator[tuple[GatewayRig, BridgeRig, Watched]]:
    """A gateway, and a bridge with the scripted server, whose every tool is allowed and may be done twice."""
    rules = tools or {"allow": ["*"], "idempotent": ["*"]}
    groups = ProcessGroups()
    aggregator = Watched(
        [hostile(note=folder / "note", tools=rules, **settings)], default="allow", groups=groups
    )  # fmt: skip
    running = asyncio.create_task(aggregator.run())
    gateway = GatewayRig(folder / "home")
    await gateway.start()
    bridge = BridgeRig(folder / "bridge", gateway.url, gateway.token(), policy=PolicySettings(default="allow"))
    bridge.servers = aggregator
    try:
        await asyncio.sleep(0)
        await aggregator.settled()
        await bridge.start()
        await bridge.connected()
        await gateway.has_tools()
        yield gateway, bridge, aggregator
    finally:
        await bridge.stop()
        await gateway.stop()
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        groups.close()


def words(result: ToolResult) -> str:
    return str(result.content[0]["text"])


def audited(bridge: BridgeRig) -> list[dict[str, Any]]:
    lines = (bridge.folder / "audit.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["event"].startswith("tool.")]


async def test_many_at_once_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async with world(tmp_path, max_in_flight=128) as (gateway, bridge, aggregator):
        calls = [
            Caller(gateway).call(tool_call("hostile_echo", {"text": f"words {number}"}, key=f"key-{number}"))
            for number in range(200)
        ]
        results = await asyncio.gather(*calls)
        assert [words(result) for result in results] == [f"words {number}" for number in range(200)]
        assert aggregator.long_way < 100  # the others had a place at once
        await until(lambda: not bridge.outbox.answers)
        await until(lambda: len(audited(bridge)) == 400)
        bridge.calls._parts.ledger.flush()
        await bridge.database.commit(synced=False)
        rows = bridge.database.read("SELECT state, kind, effect FROM calls")
        assert rows == [("acknowledged", "MCP_RESPONSE", "done")] * 200


async def test_intent_comes_before_outcome(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, bridge, aggregator):
        await Caller(gateway).call(tool_call("hostile_echo", {"text": "secret words"}))
        assert aggregator.long_way == 0
        await until(lambda: len(audited(bridge)) == 2)
        intent, outcome = audited(bridge)
        assert (intent["event"], outcome["event"]) == ("tool.intent", "tool.outcome")
        assert intent["shape"] == {"text": "text(12)"}
        assert "secret" not in (bridge.folder / "audit.jsonl").read_text()


async def test_a_repetition_gets_the_stored_answer(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, _bridge, _):
        first = await Caller(gateway).call(tool_call("hostile_note", {"text": "once"}, key="k"))
        again = await Caller(gateway).call(tool_call("hostile_note", {"text": "once"}, key="k", repeated=True))
        assert words(first) == words(again) == "noted"
        assert (tmp_path / "note").read_text() == "once\n"


async def test_a_server_that_dies_in_it_is_asked_again(tmp_path: Path) -> None:
    """The long way takes over, and ends where the server is given up or the time is over."""
    async with world(tmp_path) as (gateway, _bridge, aggregator):
        with pytest.raises(GatewayError) as failed:
            await Caller(gateway).call(tool_call("hostile_note", {"text": "x", "die": True}), 0.8)
        assert failed.value.code in (1004, 2006, 2008)
        assert aggregator.long_way >= 1
        assert (tmp_path / "note").read_text().count("x") >= 2


async def test_a_large_result_is_passed_on_unread(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, _bridge, aggregator):
        big = words(await Caller(gateway).call(tool_call("hostile_big", {"size": 3_000_000})))
        assert big == "b" * 3_000_000
        assert aggregator.long_way == 0


async def test_a_large_result_that_is_no_json(tmp_path: Path) -> None:
    """Nobody before the gateway reads it; what it says is the same."""
    async with world(tmp_path) as (gateway, bridge, _):
        with pytest.raises(GatewayError) as broken:
            await Caller(gateway).call(tool_call("hostile_big_broken", {}))
        assert (broken.value.code, broken.value.effect) == (2005, "done")
        await until(lambda: not bridge.outbox.answers)
        assert words(await Caller(gateway).call(tool_call("hostile_echo", {"text": "goes on"}))) == "goes on"


async def test_a_deadline_ends_it(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, bridge, aggregator):
        with pytest.raises(TimedOut) as late:
            await Caller(gateway).call(tool_call("hostile_never", {}), 0.3)
        assert late.value.effect == "unknown"
        await until(lambda: bridge.calls.running == 0)
        assert aggregator.owners[0].requests.in_flight == 0
        assert aggregator.long_way == 0


async def test_the_servers_own_limit_ends_it(tmp_path: Path) -> None:
    async with world(tmp_path, timeout="1s") as (gateway, _bridge, aggregator):
        with pytest.raises(TimedOut) as late:
            await Caller(gateway).call(tool_call("hostile_never", {}), 10)
        assert late.value.effect == "unknown"
        assert aggregator.long_way == 0


async def test_cancelling_reaches_the_server(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, bridge, _aggregator):
        task = asyncio.create_task(Caller(gateway).call(tool_call("hostile_cancelled", {})))
        await until(lambda: bridge.calls.running == 1)
        task.cancel()
        await until((tmp_path / "note").exists)
        await until(lambda: bridge.calls.running == 0)
        assert "requestId" in (tmp_path / "note").read_text()
        assert words(await Caller(gateway).call(tool_call("hostile_echo", {"text": "goes on"}))) == "goes on"


async def test_progress_and_a_question_on_the_way(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, _bridge, aggregator):
        caller = Caller(gateway)
        await caller.call(tool_call("hostile_progress", {}))
        assert any(isinstance(update, Progress) and update.message == "step 1" for update in caller.updates)
        result = await Caller(gateway).call(tool_call("hostile_ask", {}, attended=False))
        assert json.loads(words(result)) == {"action": "cancel"}
        assert aggregator.long_way == 0


async def test_an_error_and_a_result_without_shape(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, _bridge, aggregator):
        refused = await Caller(gateway).call(tool_call("hostile_error", {}))
        assert refused.is_error and words(refused) == "bad arguments"
        with pytest.raises(GatewayError) as odd:
            await Caller(gateway).call(tool_call("hostile_invalid", {"value": {"content": 5}}))
        assert (odd.value.code, odd.value.effect) == (2005, "done")
        assert aggregator.long_way == 0


@pytest.mark.parametrize(
    "tools",
    [
        {"allow": ["*"]},
        {"allow": ["*"], "idempotent": ["*"], "deny": [{"tool": "echo", "arguments": {"text": "*no*"}}]},
    ],
)
async def test_what_is_out_of_the_ordinary_goes_the_long_way(tmp_path: Path, tools: dict[str, Any]) -> None:
    """What may be done only once, and what a rule on arguments speaks of."""
    async with world(tmp_path, tools=tools) as (gateway, _bridge, aggregator):
        assert words(await Caller(gateway).call(tool_call("hostile_echo", {"text": "yes"}))) == "yes"
        assert aggregator.long_way == 1
        if "deny" in tools:
            with pytest.raises(GatewayError) as denied:
                await Caller(gateway).call(tool_call("hostile_echo", {"text": "no!"}))
            assert denied.value.code == 2004


async def test_a_rule_that_changes_is_heeded_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as (gateway, _bridge, aggregator):
        assert words(await Caller(gateway).call(tool_call("hostile_echo", {"text": "a"}))) == "a"
        note = tmp_path / "note"
        aggregator.apply([hostile(note=note, tools={"ask": ["echo"], "idempotent": ["*"]})])
        caller = Caller(gateway)
        task = asyncio.create_task(caller.call(tool_call("hostile_echo", {"text": "b"})))
        await asyncio.wait_for(caller.asked.wait(), 5)
        assert any(isinstance(update, ApprovalAsked) for update in caller.updates)
        task.cancel()
        await asyncio.wait({task})

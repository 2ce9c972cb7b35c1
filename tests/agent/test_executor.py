"""The calls of a round: order, checks, what is fed back, what is never repeated."""

import asyncio
from typing import Any

import pytest

from agent.ports import RequestedCall, ToolCall, ToolResult, ToolUpdate
from agent.tools.executor import MAX_CALLS, CallContext, Executor
from bus.errors import Unreachable
from bus.events import Actor
from tests.agent.harness import Tools

CONTEXT = CallContext(actor=Actor(user="alice"), session=None, message_id="m1")
NUMBER = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False}


class Notes:
    def __init__(self) -> None:
        self.lines: list[str] = []

    async def on_start(self, call: ToolCall, *, wait: bool) -> None:
        self.lines.append(f"start {call.call_id} {'wait' if wait else 'go'}")

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None:
        self.lines.append(f"update {call.call_id}")

    async def on_finish(self, call: ToolCall, result: ToolResult) -> None:
        self.lines.append(f"finish {call.call_id}")


def asked(call_id: str, name: str, arguments: str = "{}") -> RequestedCall:
    return RequestedCall(call_id=call_id, name=name, arguments=arguments)


async def run(tools: Tools, *calls: RequestedCall, started: frozenset[str] = frozenset()) -> tuple[list[Any], Notes]:
    notes = Notes()
    executor = Executor(tools, list(tools.specs.values()), tool_seconds=5)
    outcomes = await executor.run(calls, CONTEXT, notes, key_prefix="m1", started=started)
    return [(o.result.is_error, o.result.code, o.result.content[0]["text"]) for o in outcomes], notes


async def test_read_only_calls_run_side_by_side_others_in_order() -> None:
    tools, together = Tools(), asyncio.Barrier(2)
    tools.add("read", lambda call: together.wait(), read_only=True)
    order: list[str] = []
    tools.add("write", lambda call: order.append(call.call_id))
    async with asyncio.timeout(2):
        outcomes, notes = await run(tools, asked("a", "read"), asked("b", "read"), asked("c", "write"),
                                    asked("d", "write"))  # fmt: skip
    assert [error for error, _, _ in outcomes] == [False] * 4
    assert order == ["c", "d"]
    assert notes.lines[-4:] == ["start c wait", "finish c", "start d wait", "finish d"]


@pytest.mark.attack(66)
async def test_what_the_model_got_wrong_goes_back_to_it() -> None:
    tools = Tools()
    tools.add("num", lambda call: "ran", input_schema=NUMBER)
    outcomes, _ = await run(
        tools, asked("a", "num", '{"n": '), asked("b", "nope"), asked("c", "num", '{"n": "x"}'),
        asked("d", "num", "[]"),
        asked("e", "num", '{"n": 1}'),
    )  # fmt: skip
    texts = [text for _, _, text in outcomes]
    assert "not valid JSON" in texts[0] and "no tool named" in texts[1]
    assert "n: 'x' is not of type 'integer'" in texts[2] and "JSON object" in texts[3]
    assert texts[4] == "ran"
    assert len(tools.calls) == 1


@pytest.mark.attack(66)
async def test_a_thousand_calls_are_too_many() -> None:
    tools = Tools()
    tools.add("r", lambda call: "ok", read_only=True)
    outcomes, _ = await run(tools, *[asked(f"c{n}", "r") for n in range(1000)])
    assert len(outcomes) == 1000 and len(tools.calls) == MAX_CALLS
    assert "at most" in outcomes[-1][2]


async def test_calls_that_stay_wrong_end_the_use_of_tools() -> None:
    tools = Tools()
    executor = Executor(tools, [], tool_seconds=5)
    for n in range(4):
        await executor.run([asked(f"c{n}", "nope")], CONTEXT, Notes(), key_prefix="m")
    assert executor.hopeless


@pytest.mark.attack(67)
async def test_turning_in_a_circle_is_noticed() -> None:
    tools = Tools()
    tools.add("r", lambda call: "same", read_only=True)
    executor = Executor(tools, list(tools.specs.values()), tool_seconds=5)
    rounds = 0
    while not executor.hopeless and rounds < 20:
        await executor.run([asked(f"c{rounds}", "r")], CONTEXT, Notes(), key_prefix="m")
        rounds += 1
    assert rounds == 5


async def test_a_failure_on_the_way_is_a_result_with_its_code() -> None:
    tools = Tools()

    def away(call: ToolCall) -> str:
        raise Unreachable("the laptop is away")

    tools.add("far", away)
    assert (await run(tools, asked("a", "far")))[0] == [(True, 2003, "the laptop is away")]


async def test_what_may_have_been_done_is_not_done_again() -> None:
    tools = Tools()
    tools.add("pay", lambda call: "paid")
    tools.add("look", lambda call: "seen", read_only=True)
    tools.add("far", lambda call: "known there", source="bridge")
    outcomes, notes = await run(tools, asked("a", "pay"), asked("b", "look"), asked("c", "far"),
                                started=frozenset("abc"))  # fmt: skip
    assert [code for _, code, _ in outcomes] == [2006, None, None]
    assert [call.call_id for call in tools.calls] == ["b", "c"]
    assert all(call.repeated for call in tools.calls)
    assert not [line for line in notes.lines if line.startswith("start")]

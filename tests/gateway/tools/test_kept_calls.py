"""What is written down of people's own calls, for arguments and answers of any kind."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.ports.tools import Report, ToolCall, ToolResult, ToolSpec
from bus.deadline import Deadline
from bus.errors import BadParameters, GatewayError, OutcomeUnknown
from bus.events import Actor
from bus.message_bus import MemoryBus
from gateway.auth import Principal
from gateway.handlers.call import Call
from gateway.handlers.tools import CallTool, ToolMethods
from gateway.tools.kept_calls import KEPT_SECONDS, KeptCalls, content_of
from gateway.tools.store import Store
from tests.gateway.edge.harness import running


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[KeptCalls]:
    store = Store(tmp_path / "approvals.db")
    yield KeptCalls(store)
    store.close()


@pytest.mark.parametrize("strange", [2**70, "half a pair \ud83d", float("nan"), {"a": [2**70, "\udc00"]}])
async def test_an_answer_of_a_careless_server_is_kept_like_any_other(kept: KeptCalls, strange: Any) -> None:
    answer = {"content": [], "structured_content": strange, "is_error": False, "duration_ms": 1}
    content = content_of("tool", {})
    await kept.begin("alice", "k", content)
    await kept.done("alice", "k", content, answer)
    found = kept.find("alice", "k")
    assert found is not None and found.state == "done"
    told = found.outcome()
    assert told["content"] == [] and (strange != strange or told == answer)


def test_arguments_that_no_bridge_would_get_as_they_are() -> None:
    with pytest.raises(BadParameters):
        content_of("tool", {"n": 2**70})


async def test_they_are_1000_with_a_key_as_without(tmp_path: Path) -> None:
    async with running(tmp_path) as gateway:
        for more in ({}, {"idempotency_key": "k"}):
            asked = {"name": "calculator", "arguments": {"expression": "1", "n": 2**70}} | more
            answer = await gateway.rpc("tools.call", "alice", **asked)
            assert answer["error"]["code"] == 1000, answer


class FillsTheDisk:
    """A tool with an effect, in whose call the disk begins to refuse."""

    spec = ToolSpec(name="pay", description="", input_schema={"type": "object"})

    def __init__(self, store: Store) -> None:
        self._store = store
        self.calls = 0

    async def find(self, actor: Actor, name: str) -> ToolSpec:
        return self.spec

    async def list_tools(self, actor: Actor) -> list[ToolSpec]:
        return [self.spec]

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        self.calls += 1
        self._store._connection.execute("PRAGMA query_only = ON")
        if call.arguments.get("fails"):
            raise OutcomeUnknown("the server died")
        return ToolResult(content=({"type": "text", "text": "paid"},))


@pytest.mark.parametrize("fails", [False, True])
async def test_what_came_of_a_call_is_told_though_the_disk_does_not_take_it(tmp_path: Path, fails: bool) -> None:
    store = Store(tmp_path / "approvals.db")
    tool = FillsTheDisk(store)
    caller = Call(principal=Principal("alice", "user", frozenset({"tools"}), "t"))
    asked = CallTool(name="pay", arguments={"fails": fails}, idempotency_key="k")

    async def outcome(methods: ToolMethods) -> Any:
        try:
            return (await methods.call(caller, asked))["content"][0]["text"]
        except GatewayError as error:
            return type(error)

    before = ToolMethods(tools=tool, kept=KeptCalls(store), events=MemoryBus(), seconds=5)
    first = OutcomeUnknown if fails else "paid"
    assert [await outcome(before), await outcome(before)] == [first, first]
    store._connection.execute("PRAGMA query_only = OFF")
    after = ToolMethods(tools=tool, kept=KeptCalls(store), events=MemoryBus(), seconds=5)
    assert await outcome(after) == OutcomeUnknown and tool.calls == 1
    store.close()


async def test_what_is_older_than_a_day_leaves_the_file_while_the_house_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.app.SWEEP_SECONDS", 0.05)
    async with running(tmp_path):
        store = Store(tmp_path / "approvals.db")
        for key, age in (("old", KEPT_SECONDS + 60), ("new", 60.0)):
            await store.put("INSERT INTO calls VALUES ('alice', ?, 'c', 'done', '{}', ?)", (key, time.time() - age))
        async with asyncio.timeout(5):
            while len(store.read("SELECT key FROM calls")) > 1:
                await asyncio.sleep(0.02)
        assert store.read("SELECT key FROM calls") == [("new",)]
        store.close()

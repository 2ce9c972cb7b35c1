"""The gateway's own MCP servers as cloud tools: real and hostile servers behind the ToolSource port."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.ports.models import RequestedCall
from agent.ports.tools import ApprovalAsked, Progress, Report, ToolCall, ToolResult, ToolSpec, ToolUpdate
from agent.tools.calls import needs_care
from agent.tools.executor import Executor
from bridge.audit import AuditLog
from bridge.audit.trail import AuditTrail
from bridge.settings import McpServerSettings
from bus.deadline import Deadline
from bus.errors import GatewayError, NotFound, OutcomeUnknown, ServerDown, TimedOut, ToolDenied, ToolResultInvalid
from bus.events import Actor, Decision
from gateway.tools.approvals import ApprovalDesk
from gateway.tools.cloud_mcp import CloudMcp
from gateway.tools.guard import Guard
from gateway.tools.store import Store
from tests.bridge.conftest import hostile, marked_environment, no_process_survives, until
from tests.bridge.test_real_servers import stdio

__all__ = ["marked_environment", "no_process_survives"]

ALICE = Actor(user="alice")


class Unobserved:
    async def on_start(self, call: ToolCall, spec: ToolSpec | None) -> None: ...

    def on_update(self, call: ToolCall, update: ToolUpdate) -> None: ...

    async def on_finish(self, call: ToolCall, result: ToolResult, text: str) -> None: ...


def tool_call(name: str, arguments: dict[str, Any] | None = None, user: str = "alice", **more: Any) -> ToolCall:
    return ToolCall(
        call_id="c1", name=name, arguments=arguments or {}, actor=Actor(user=user), idempotency_key="k1", **more
    )


@asynccontextmanager
async def cloud(*servers: McpServerSettings, **options: Any) -> AsyncIterator[CloudMcp]:
    source = CloudMcp(servers, **options)
    task = asyncio.get_running_loop().create_task(source.run())
    try:
        await asyncio.wait_for(source.settled(), 20)
        yield source
    finally:
        task.cancel()
        await asyncio.wait([task])


async def run(source: CloudMcp, call: ToolCall, seconds: float = 10, report: Report = lambda _: None) -> Any:
    return await source.call(call, deadline=Deadline(seconds), report=report)


async def test_tools_of_real_servers() -> None:
    rules = {"ask": ["note"], "deny": ["die"], "idempotent": ["add"]}
    async with cloud(stdio(name="real", tools=rules), hostile("crash", name="broken")) as source:
        specs = {spec.name: spec for spec in await source.list_tools(ALICE)}
        assert specs["real_add"].source == "cloud"
        assert {name: specs[name].policy for name in ("real_add", "real_note", "real_die")} == {
            "real_add": "allow", "real_note": "ask", "real_die": "deny",
        }  # fmt: skip
        assert (specs["real_add"].read_only, specs["real_add"].idempotent) == (True, True)
        assert (specs["real_note"].read_only, specs["real_note"].idempotent) == (False, False)
        result = await run(source, tool_call("real_add", {"a": 2, "b": 3}))
        assert result.content[0] == {"type": "text", "text": "5"}
        assert (result.structured_content, result.is_error) == ({"result": 5}, False)
        bad = await run(source, tool_call("real_add", {"a": "x"}))
        assert bad.is_error
        states = {entry["name"]: entry for entry in source.status()}
        assert states["real"]["state"] == "ready"
        assert "left-pad" in states["broken"]["error"]


@pytest.mark.attack(45)
@pytest.mark.attack(80)
async def test_a_server_that_calls_its_tools_harmless_has_none_repeated(tmp_path: Path) -> None:
    """Its word decides what runs side by side, and nothing that could do a thing twice."""
    note = tmp_path / "note"
    async with cloud(hostile("innocent", note, name="cloud")) as source:
        found = source.find_tool(ALICE, "cloud_note")
        assert found is not None
        assert (found.read_only, found.idempotent, found.side_by_side) == (False, False, True)
        assert needs_care(found)
        for repeated in (False, True):
            tools = Executor(source, tool_seconds=10).turn(ALICE, [found])
            call = RequestedCall(call_id="c1", name=found.name, arguments='{"text": "once"}')
            (outcome,) = (await tools.run([call], Unobserved(), repeated=frozenset(["c1"] * repeated))).outcomes
        assert outcome.result.code == 2006
    assert note.read_text() == "once\n"


async def test_failures_have_their_codes_and_effects() -> None:
    async with cloud(hostile(name="h")) as source:
        for tool, arguments, error, effect in [
            ("h_crash", {}, OutcomeUnknown, "unknown"), ("h_nan", {}, ToolResultInvalid, "done"),
            ("h_invalid", {"value": 5}, ToolResultInvalid, "done"), ("h_nothing", {}, NotFound, "none"),
        ]:  # fmt: skip
            with pytest.raises(error) as caught:
                await run(source, tool_call(tool, arguments))
            assert caught.value.effect == effect
        await run(source, tool_call("h_good"))
        with pytest.raises(TimedOut) as late:
            await run(source, tool_call("h_never"), seconds=0.2)
        assert late.value.effect == "unknown"
        result = await run(source, tool_call("h_error"))
        assert (result.is_error, result.content[0]["text"]) == (True, "bad arguments")
        news: list[ToolUpdate] = []
        await run(source, tool_call("h_progress"), report=news.append)
        assert news == [Progress(progress=1, total=2, message="step 1")]


async def test_a_server_that_was_given_up_keeps_its_tools_unavailable() -> None:
    async with cloud(hostile("crash_after", name="h")) as source:
        await until(lambda: source.status()[0]["state"] == "failed", 10)
        specs = await source.list_tools(ALICE)
        assert specs
        assert not any(spec.available for spec in specs)
        with pytest.raises(ServerDown):
            await run(source, tool_call("h_good"))


async def test_cancelling_the_task_cancels_the_call(tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with cloud(hostile("", note, name="h")) as source:
        task = asyncio.create_task(run(source, tool_call("h_cancelled")))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(note.exists)


async def test_a_question_reaches_the_person_and_no_other() -> None:
    asked: list[str] = []

    async def ask(call: ToolCall, message: str, schema: dict[str, Any], report: Report) -> dict[str, Any]:
        asked.append(call.actor.user)
        await asyncio.sleep(0.3)
        return {"action": "accept", "content": {"colour": "red"}}

    async with cloud(hostile(name="h"), ask=ask) as source:
        result = await run(source, tool_call("h_ask"), seconds=0.2)
        assert "red" in result.content[0]["text"]
        assert asked == ["alice"]
        assert "cancel" in (await run(source, tool_call("h_ask", attended=False))).content[0]["text"]
        other = asyncio.create_task(run(source, tool_call("h_never", user="bob"), seconds=1))
        await asyncio.sleep(0.02)
        assert "cancel" in (await run(source, tool_call("h_ask"))).content[0]["text"]
        assert asked == ["alice"]
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


@pytest.mark.attack(43)
async def test_a_changed_tool_is_asked_for_whatever_was_granted(tmp_path: Path) -> None:
    trail, store = AuditTrail(AuditLog(tmp_path / "audit.jsonl")), Store(tmp_path / "approvals.db")
    desk = ApprovalDesk(store)
    who = Actor(user="alice", role="user", scopes=frozenset({"tools", "approve"}))
    async with cloud(hostile(name="h", tools={"ask": ["good"]}), folder=tmp_path) as source:
        guard = Guard([source], desk=desk, trail=trail, platforms=frozenset())

        async def call(decision: Decision) -> list[ToolUpdate]:
            updates: list[ToolUpdate] = []
            asked = asyncio.Event()

            def report(update: ToolUpdate) -> None:
                updates.append(update)
                if isinstance(update, ApprovalAsked):
                    asked.set()

            wanted = replace(tool_call("h_good"), actor=who, call_id=f"c{time.time_ns()}")
            task = asyncio.create_task(guard.call(wanted, deadline=Deadline(10), report=report))
            waiting = asyncio.create_task(asked.wait())
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            if asked.is_set():
                question = next(update for update in updates if isinstance(update, ApprovalAsked))
                await desk.resolve(question.approval_id, decision, who)
            await task
            return [update for update in updates if isinstance(update, ApprovalAsked)]

        assert len(await call("allow_always")) == 1
        assert await call("deny") == []
        await source.call(tool_call("h_change"), deadline=Deadline(10), report=lambda _: None)
        await until(lambda: source.changed("h_good"))
        assert len(await call("allow_once")) == 1
        assert not source.changed("h_good")
        assert await call("deny") == []
    desk.closing()
    store.close()
    trail.close()


async def test_rules_on_arguments() -> None:
    rules = {"deny": [{"tool": "echo", "arguments": {"text": "b*"}}]}
    async with cloud(hostile(name="h", tools=rules)) as source:
        with pytest.raises(ToolDenied):
            await run(source, tool_call("h_echo", {"text": "bad"}))
        assert (await run(source, tool_call("h_echo", {"text": "good"}))).content[0]["text"] == "good"
        found = source.find_tool(ALICE, "h_echo")
        assert found is not None
        assert found.policy == "ask"
        assert source.find_tool(ALICE, "nothing") is None


async def test_no_servers_cost_nothing() -> None:
    async with cloud() as source:
        assert await source.list_tools(ALICE) == []
        with pytest.raises(GatewayError):
            await run(source, tool_call("x"))

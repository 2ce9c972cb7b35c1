"""The guard: the one way to any tool. Real desk, real audit log, real files; the tools are counted."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.ports.tools import (
    ApprovalAnswered,
    ApprovalAsked,
    Policy,
    Report,
    ToolCall,
    ToolResult,
    ToolSpec,
    ToolUpdate,
)
from bridge.audit import AuditLog, verify
from bridge.audit.trail import AuditTrail
from bus.deadline import Deadline
from bus.errors import (
    BadParameters,
    ConfirmationRequired,
    Forbidden,
    GatewayError,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    TimedOut,
    ToolDenied,
)  # fmt: skip
from bus.events import Actor
from bus.keys import SessionKey, default_key, group_key
from gateway.tools.approvals import ApprovalDesk
from gateway.tools.guard import Guard
from gateway.tools.store import Store
from tests.fakes.tunnel_rig import actor, tool_call, until

SESSION = default_key("alice")
GROUP = group_key("telegram", "-100")


class CountedTools:
    """A source whose every call counts."""

    def __init__(self, *specs: ToolSpec) -> None:
        self.specs = specs
        self.calls: list[ToolCall] = []
        self.error: Exception | None = None

    async def list_tools(self, actor: Actor) -> Sequence[ToolSpec]:
        return self.specs

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        self.calls.append(call)
        if self.error is not None:
            raise self.error
        return ToolResult(content=({"type": "text", "text": call.name},))


def spec(name: str, policy: Policy = "allow", **more: Any) -> ToolSpec:
    return ToolSpec(name=name, description="", input_schema={"type": "object"}, policy=policy, **more)


class House:
    """A guard over cloud tools and a bridge's."""

    def __init__(self, home: Path, **more: Any) -> None:
        self.home = home
        self.cloud = CountedTools(
            spec("clock", read_only=True), spec("send_mail"), spec("write", "ask"), spec("never", "deny"),
            spec("delete_note"), spec("sql_query"),
        )  # fmt: skip
        self.bridge = CountedTools(
            spec("fs_read", source="bridge", bridge="laptop"), spec("clock", source="bridge", bridge="laptop")
        )
        self.more = more
        self.updates: list[ToolUpdate] = []
        self.asked = asyncio.Event()
        self.open()

    def open(self) -> None:
        self.trail = AuditTrail(AuditLog(self.home / "audit.jsonl"))
        self.store = Store(self.home / "approvals.db")
        self.desk = ApprovalDesk(self.store, cloud_seconds=self.more.get("seconds", 600.0))
        self.guard = Guard(
            [self.cloud, self.bridge], desk=self.desk, trail=self.trail, platforms=frozenset({"telegram"}),
            rules=self.more.get("rules", ()), standing=self.more.get("standing", lambda who: True),
        )  # fmt: skip

    def close(self) -> None:
        self.store.close()
        self.trail.close()

    def report(self, update: ToolUpdate) -> None:
        self.updates.append(update)
        if isinstance(update, ApprovalAsked):
            self.asked.set()

    async def call(self, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> ToolResult:
        seconds = more.pop("seconds", 5.0)
        call = more.pop("call", None) or tool_call(name, arguments or {}, **more)
        return await self.guard.call(call, deadline=Deadline(seconds), report=self.report)

    async def asks(self, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> "asyncio.Task[ToolResult]":
        self.asked.clear()
        task = asyncio.create_task(self.call(name, arguments, **more))
        await asyncio.wait_for(self.asked.wait(), 5)
        return task

    async def restarts(self, task: "asyncio.Task[ToolResult]") -> None:
        """The gateway stops while `task` waits for its answer, and starts again."""
        self.desk.closing()
        task.cancel()
        await asyncio.wait({task})
        self.close()
        self.open()

    @property
    def approval(self) -> str:
        return next(u.approval_id for u in reversed(self.updates) if isinstance(u, ApprovalAsked))

    async def failing(self, name: str, **more: Any) -> GatewayError:
        with pytest.raises(GatewayError) as caught:
            await self.call(name, **more)
        return caught.value

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.home / "audit.jsonl").read_text().splitlines()]


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    yield made
    made.close()


async def test_cloud_names_are_reserved(house: House) -> None:
    specs = {item.name: item for item in await house.guard.list_tools(actor())}
    assert specs["clock"].source == "cloud" and specs["fs_read"].source == "bridge"
    await house.call("clock")
    assert [call.name for call in house.cloud.calls] == ["clock"] and house.bridge.calls == []


async def test_what_is_not_there_is_1003(house: House) -> None:
    for name in ("nothing", "", "__class__", "clock "):
        assert isinstance(await house.failing(name), NotFound)


@pytest.mark.attack(50)
@pytest.mark.parametrize("attended", [True, False])
async def test_every_path_needs_the_scope_and_the_policy(house: House, attended: bool) -> None:
    """A turn, a sub-agent, a schedule and a bare call are all a ToolCall: the same gate for each."""
    for session in (None, SESSION):
        error = await house.failing(
            "clock", who=actor(scopes=frozenset({"chat"})), session=session, attended=attended
        )  # fmt: skip
        assert isinstance(error, Forbidden)
        assert isinstance(await house.failing("never", session=session, attended=attended), ToolDenied)
    assert house.cloud.calls == []


async def test_asked_and_allowed_once(house: House) -> None:
    task = await house.asks("write", {"path": "/x"}, session=SESSION)
    asked = house.updates[0]
    assert isinstance(asked, ApprovalAsked) and asked.arguments == {"path": "/x"} and asked.where is None
    assert house.cloud.calls == []
    assert await house.desk.resolve(house.approval, "allow_once", actor()) is True
    await task
    assert house.updates[-1] == ApprovalAnswered(approval_id=house.approval, decision="allow_once", by="alice")
    task = await house.asks("write", {"path": "/x"}, session=SESSION)
    await house.desk.resolve(house.approval, "deny", actor())
    with pytest.raises(ToolDenied):
        await task
    assert len(house.cloud.calls) == 1


async def test_a_yes_counts_whose_sender_left_before_it_was_written_down(house: House) -> None:
    task = await house.asks("write", {"path": "/x"}, session=SESSION)
    with house.store._lock:  # the disk takes its time
        saying = asyncio.ensure_future(house.desk.resolve(house.approval, "allow_once", actor()))
        await asyncio.sleep(0.02)
        saying.cancel()
        await asyncio.wait([saying])
    await asyncio.wait_for(task, 2)
    assert len(house.cloud.calls) == 1


@pytest.mark.attack(46)
async def test_dangerous_words_ask_and_are_never_covered(house: House) -> None:
    for _ in range(2):
        task = await house.asks("delete_note", session=SESSION)
        await house.desk.resolve(house.approval, "allow_always", actor())
        await task
    assert await house.desk.grants(actor()) == []
    task = await house.asks("sql_query", {"q": {"text": ["select 1; DROP TABLE x"]}})
    task.cancel()
    await house.call("sql_query", {"q": "select 1"})
    shown = {item.name: item.policy for item in await house.guard.list_tools(actor())}
    assert shown["delete_note"] == "ask" and shown["sql_query"] == "allow"


async def test_silence_is_a_no(tmp_path: Path) -> None:
    house = House(tmp_path, seconds=0.2)
    error = await house.failing("write", seconds=0.05)
    assert isinstance(error, ToolDenied) and error.effect == "none"
    assert house.updates[-1] == ApprovalAnswered(approval_id=house.approval, decision="expired", by="")
    with pytest.raises(NotFound):
        await house.desk.resolve(house.approval, "allow_once", actor())
    house.close()


@pytest.mark.parametrize(("role", "attended"), [("service", True), ("user", False)])
async def test_nobody_there_to_ask_is_2007(house: House, role: str, attended: bool) -> None:
    error = await house.failing("write", who=actor(role=role), attended=attended)
    assert isinstance(error, ConfirmationRequired)
    assert house.updates == [] and await house.desk.pending(actor()) == []


async def test_what_was_allowed_for_longer(house: House) -> None:
    task = await house.asks("write", session=SESSION)
    await house.desk.resolve(house.approval, "allow_session", actor())
    await task
    await house.call("write", {"other": 1}, session=SESSION)
    task = await house.asks("write", session=default_key("alice", "cli"))
    await house.desk.resolve(house.approval, "allow_always", actor())
    await task
    await house.call("write")
    await house.call("write", who=actor(), attended=False)
    scopes = [grant["scope"] for grant in await house.desk.grants(actor())]
    assert scopes == ["allow_session", "allow_always"]
    await house.desk.session_ended(SESSION)
    (left,) = await house.desk.grants(actor())
    await house.desk.revoke(left["grant_id"], actor())
    task = await house.asks("write", session=SESSION)
    task.cancel()
    with pytest.raises(NotFound):
        await house.desk.revoke(left["grant_id"], actor())
    task = await house.asks("write", who=actor("bob"))
    task.cancel()


async def test_rules_make_it_stricter_never_laxer(tmp_path: Path) -> None:
    def rule(who: Actor, tool: ToolSpec) -> Policy:
        return "deny" if tool.name == "send_mail" and who.role != "admin" else "allow"

    house = House(tmp_path, rules=[rule])
    assert isinstance(await house.failing("send_mail"), ToolDenied)
    await house.call("send_mail", who=actor(role="admin"))
    assert isinstance(await house.failing("never", who=actor(role="admin")), ToolDenied)
    house.close()


async def test_a_rule_asks_about_a_bridges_tool_too_and_not_twice(tmp_path: Path) -> None:
    house = House(tmp_path, rules=[lambda who, tool: "ask" if tool.source == "bridge" else "allow"])
    house.bridge.specs = (
        spec("fs_read", source="bridge", bridge="laptop"), spec("fs_write", "ask", source="bridge", bridge="laptop"),
    )  # fmt: skip
    task = await house.asks("fs_read", {"path": "a"})
    assert house.bridge.calls == []
    await house.desk.resolve(house.approval, "allow_once", actor())
    await task
    assert [call.name for call in house.bridge.calls] == ["fs_read"]
    asked = len(house.updates)
    await house.call("fs_write")  # the bridge asks about this one
    # After a restart the call is with the bridge already, which knows its key.
    await house.call("fs_read", call=replace(tool_call("fs_read", {"path": "a"}), repeated=True))
    assert len(house.updates) == asked and len(house.bridge.calls) == 3
    house.close()


@pytest.mark.attack(97)
async def test_who_was_removed_since_may_call_no_more(tmp_path: Path) -> None:
    """A turn that began before: each call is authorised when it is made."""
    removed: set[str] = set()
    house = House(tmp_path, standing=lambda who: who.user not in removed)
    await house.call("clock")
    removed.add("alice")
    assert isinstance(await house.failing("clock"), Forbidden)
    await house.call("clock", who=actor("bob"))
    house.close()


@pytest.mark.parametrize("change", ["tool", "person", "loan"])
async def test_a_yes_does_not_reach_further_than_what_holds_when_it_is_given(tmp_path: Path, change: str) -> None:
    removed: set[str] = set()
    house = House(tmp_path, standing=lambda who: who.user not in removed,
                  rules=[lambda who, tool: "ask" if tool.name == "fs_read" else "allow"])  # fmt: skip
    await house.desk.lend("alice", GROUP, True)
    task = await house.asks("fs_read", {"path": "a"}, session=GROUP)
    if change == "tool":
        house.bridge.specs = (spec("fs_read", "deny", source="bridge", bridge="laptop"),)
    elif change == "person":
        removed.add("alice")
    else:
        await house.desk.lend("alice", GROUP, False)
    await house.desk.resolve(house.approval, "allow_always", actor())
    with pytest.raises(Forbidden if change == "person" else ToolDenied):
        await task
    assert house.bridge.calls == []
    assert await house.desk.grants(actor()) == []
    house.close()


# ---------------------------------------------------------------- groups


async def test_bridges_are_off_in_a_group_until_their_owner_lends_them(house: House) -> None:
    assert isinstance(await house.failing("fs_read", session=GROUP), ToolDenied)
    names = [item.name for item in await house.guard.list_tools(actor(), GROUP)]
    assert "fs_read" not in names and "clock" in names
    await house.desk.lend("bob", GROUP, True)
    assert isinstance(await house.failing("fs_read", session=GROUP), ToolDenied)
    await house.desk.lend("alice", GROUP, True)
    await house.call("fs_read", session=GROUP)
    assert "fs_read" in [item.name for item in await house.guard.list_tools(actor(), GROUP)]
    house.close()
    house.open()
    await house.call("fs_read", session=GROUP)
    assert isinstance(await house.failing("fs_read", session=group_key("telegram", "-200")), ToolDenied)
    await house.desk.lend("alice", GROUP, False)
    assert isinstance(await house.failing("fs_read", session=GROUP), ToolDenied)
    assert len(house.bridge.calls) == 2


async def test_a_list_asks_once_whether_bridges_are_lent(house: House) -> None:
    house.bridge = CountedTools(*(spec(f"fs_{n}", source="bridge", bridge="laptop") for n in range(500)))
    house.close()
    house.open()
    await house.desk.lend("alice", GROUP, True)
    asked: list[str] = []
    house.store._reader.set_trace_callback(asked.append)
    assert len(await house.guard.list_tools(actor(), GROUP)) > 500
    assert len(asked) == 1


async def test_a_private_key_that_looks_like_a_group_is_no_group(house: House) -> None:
    await house.call("fs_read", session=SessionKey(GROUP.text, "alice"))
    await house.call("fs_read", session=SESSION)


# ---------------------------------------------------------------- audit


async def test_intent_before_outcome_after_and_no_contents(house: House) -> None:
    await house.call("send_mail", {"to": "canary@example.org"}, session=SESSION)
    house.cloud.error = TimedOut(effect="unknown")
    await house.failing("send_mail")
    await until(lambda: len(house.audit()) == 4)
    events = house.audit()
    assert [event["event"] for event in events] == ["tool.intent", "tool.outcome"] * 2
    assert (
        events[0]["tool"] == "send_mail" and events[0]["user"] == "alice" and events[0]["shape"] == {"to": "text(18)"}
    )
    assert events[0]["session_key"] == SESSION.text and len(events[0]["arguments_sha256"]) == 64
    assert (events[1]["effect"], events[3]["effect"], events[3]["code"]) == ("done", "unknown", 1004)
    assert "canary@" not in json.dumps(events)
    assert verify(house.home / "audit.jsonl").ok


async def test_no_audit_no_call(house: House) -> None:
    house.trail._audit.close()
    error = await house.failing("send_mail")
    assert isinstance(error, Overloaded) and error.effect == "none"
    assert house.cloud.calls == []
    await house.call("clock")


async def test_arguments_that_are_no_json(house: House) -> None:
    for arguments in ({"a": 2**53}, {"a": float("nan")}, {"a": "\ud800"}):
        assert isinstance(await house.failing("clock", arguments=arguments), BadParameters)
    assert house.cloud.calls == []


# ---------------------------------------------------------------- restarts, many at once


async def test_a_question_survives_a_restart(house: House) -> None:
    """Whether the answer comes before the restart, between, or after: the call runs once, with that answer."""
    for when in ("between", "after"):
        call = tool_call("write", {"when": when}, session=SESSION)
        task = await house.asks("write", call=call)
        approval = house.approval
        await house.restarts(task)
        house.asked.clear()
        assert [row["approval_id"] for row in await house.desk.pending(actor())] == [approval]
        if when == "between":
            await house.desk.resolve(approval, "allow_once", actor())
        again = asyncio.create_task(house.call("write", call=call))
        if when == "after":
            await asyncio.wait_for(house.asked.wait(), 5)
            assert house.approval == approval
            await house.desk.resolve(approval, "allow_once", actor())
        await again
        assert await house.desk.pending(actor()) == []
    assert [call.arguments["when"] for call in house.cloud.calls] == ["between", "after"]


@pytest.mark.attack(46)
async def test_after_a_restart_the_yes_is_still_bound_to_its_arguments(house: House) -> None:
    call = tool_call("write", {"path": "/a"}, session=SESSION)
    task = await house.asks("write", call=call)
    approval = house.approval
    await house.restarts(task)
    await house.desk.resolve(approval, "allow_once", actor())
    other = tool_call("write", {"path": "/evil"}, session=SESSION, call_id=call.call_id, key=call.idempotency_key)
    task = await house.asks("write", call=other)
    assert house.approval != approval
    task.cancel()
    await asyncio.wait({task})
    assert house.cloud.calls == []


@pytest.mark.attack(46)
async def test_one_yes_is_for_one_call_though_models_number_their_calls_alike(house: House) -> None:
    """Two talks of one person, in each the first call of the model, with the same arguments."""
    calls = [
        replace(tool_call("write", {"text": "x"}, call_id="call_0", session=key), message_id=f"msg-{key.text}")
        for key in (SESSION, SessionKey("notes", "alice"))
    ]
    tasks = [await house.asks("write", call=call) for call in calls]
    first, second = [update.approval_id for update in house.updates if isinstance(update, ApprovalAsked)]
    assert first != second
    await house.desk.resolve(first, "allow_once", actor())
    assert not (await tasks[0]).is_error
    assert len(house.cloud.calls) == 1 and not tasks[1].done()
    await house.restarts(tasks[1])
    with pytest.raises(OutcomeUnknown):  # it was made: that the other still asks says nothing about it
        await house.call("write", call=replace(calls[0], repeated=True))
    assert len(house.cloud.calls) == 1


async def test_a_stopped_turn_leaves_no_question_behind(house: House) -> None:
    task = await house.asks("write", session=SESSION)
    task.cancel()
    await asyncio.wait({task})
    assert await house.desk.pending(actor()) == []
    with pytest.raises(NotFound):
        await house.desk.resolve(house.approval, "allow_once", actor())


async def test_a_stopped_turn_holds_nobody_up_while_the_disk_forgets_its_question(house: House) -> None:
    task = await house.asks("write", session=SESSION)
    house.store._lock.acquire()  # the disk takes its time
    begun = time.monotonic()
    asyncio.get_running_loop().run_in_executor(None, lambda: (time.sleep(0.5), house.store._lock.release()))
    task.cancel()
    await asyncio.sleep(0.05)
    assert time.monotonic() - begun < 0.4
    assert await house.desk.pending(actor()) == []
    await asyncio.wait({task})
    assert task.cancelled() and house.store.read("SELECT 1 FROM approvals") == []


async def test_a_hundred_questions_wait_for_nobody_else(house: House) -> None:
    """Waiting holds neither a thread nor another session; beyond a hundred it is 1007."""
    tasks = [asyncio.create_task(house.call("write", {"n": number})) for number in range(101)]
    await until(lambda: sum(isinstance(update, ApprovalAsked) for update in house.updates) == 100)
    await house.call("clock", who=actor("bob"))
    done, _ = await asyncio.wait(tasks, timeout=1, return_when=asyncio.FIRST_COMPLETED)
    (refused,) = done
    assert isinstance(refused.exception(), Overloaded)
    for row in await house.desk.pending(actor()):
        await house.desk.resolve(row["approval_id"], "allow_once", actor())
    await asyncio.wait(tasks)
    assert sum(call.name == "write" for call in house.cloud.calls) == 100


async def test_the_file_is_private(house: House) -> None:
    assert (house.home / "approvals.db").stat().st_mode & 0o777 == 0o600

"""Many servers as one catalogue: names, routes, pins, reloads."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.aggregator import Aggregator
from bridge.catalogue import CATALOGUE_BYTES, SERVER_BYTES, fit
from bridge.errors import NotFound, OutcomeUnknown, TimedOut, ToolDenied
from bridge.ports import Relayed
from bridge.servers.definitions import MAX_DESCRIPTION, clean, read_listed, read_tools
from bridge.servers.groups import ProcessGroups
from bridge.servers.memory import Memory
from bridge.servers.names import NameTable, public_name
from bridge.settings import McpServerSettings
from tests.bridge.conftest import ended, first_text, hostile, until
from tests.bridge.test_real_servers import stdio


@asynccontextmanager
async def aggregating(*servers: McpServerSettings, **options: Any) -> AsyncIterator[Aggregator]:
    groups = ProcessGroups()
    aggregator = Aggregator(servers, groups=groups, **{"default": "ask", **options})
    async with AsyncExitStack() as stack:
        stack.callback(groups.close)
        task = asyncio.get_running_loop().create_task(aggregator.run())
        stack.callback(task.cancel)
        await asyncio.sleep(0)
        await asyncio.wait_for(aggregator.settled(), 20)
        yield aggregator
        task.cancel()
        await asyncio.wait([task])


async def call(aggregator: Aggregator, name: str, arguments: dict[str, Any] | None = None, **more: Any) -> str:
    result = await aggregator.request(name, "tools/call", {"name": name, "arguments": arguments or {}}, **more)
    return first_text(result)


def names(aggregator: Aggregator) -> list[str]:
    return [tool["name"] for tool in aggregator.catalogue()["tools"]]


async def test_a_catalogue_of_several_servers() -> None:
    rules = {"allow": ["add"], "deny": ["die"]}
    async with aggregating(hostile(name="a"), stdio(name="b", tools=rules), hostile("crash", name="c")) as aggregator:
        catalogue = aggregator.catalogue()
        assert {s["name"]: s["state"] for s in catalogue["servers"]} == {"a": "ready", "b": "ready", "c": "failed"}
        assert "left-pad" in catalogue["servers"][2]["error"]
        tools = {tool["name"]: tool for tool in catalogue["tools"]}
        assert tools["a_good"]["policy"] == "ask"
        assert tools["b_add"] == {
            "name": "b_add", "server": "b", "description": "Add two numbers.", "policy": "allow",
            "inputSchema": tools["b_add"]["inputSchema"],
        }  # fmt: skip
        assert tools["b_die"]["policy"] == "deny"
        assert [(r["uri"], r["server"]) for r in catalogue["resources"]] == [("memo://today", "b")]
        assert [(p["name"], p["server"]) for p in catalogue["prompts"]] == [("b_greet", "b")]
        assert await call(aggregator, "b_add", {"a": 1, "b": 2}) == "3"
        assert await call(aggregator, "a_echo", {"text": "x"}) == "x"
        whole = await aggregator.request("b_add", "tools/call", {"name": "b_add", "arguments": {"a": 1, "b": 2}})
        assert isinstance(whole, Relayed)
        assert json.loads(whole.raw) == whole
        read = await aggregator.request("b", "resources/read", {"uri": "memo://today"})
        assert read["contents"][0]["text"] == "buy milk"
        prompt = await aggregator.request("b_greet", "prompts/get", {"name": "b_greet", "arguments": {"name": "Ada"}})
        assert "Ada" in json.dumps(prompt)
        with pytest.raises(NotFound):
            await call(aggregator, "c_good")
        news: list[dict[str, Any]] = []
        await call(aggregator, "a_progress", on_progress=news.append)
        assert news[0] == {"state": "running", "progress": 1, "total": 2, "message": "step 1"}


@pytest.mark.attack(45)
async def test_one_servers_crash_does_not_touch_anothers_call() -> None:
    async with aggregating(hostile(name="a"), hostile(name="b")) as aggregator:
        slow = asyncio.create_task(call(aggregator, "b_slow", {"seconds": 0.4}))
        await asyncio.sleep(0.05)
        with pytest.raises(OutcomeUnknown):
            await call(aggregator, "a_crash")
        assert await slow == "slow"


@pytest.mark.attack(47)
@pytest.mark.parametrize(
    ("tool", "method", "params"),
    [
        ("a_good", "servers/start", {"command": "sh"}), ("a", "resources/subscribe", {"uri": "x"}),
        ("a_good", "initialize", {}), ("a_good", "tools/list", {}), ("a", "completion/complete", {}),
    ],
)  # fmt: skip
async def test_there_is_no_operation_that_starts_anything(tool: str, method: str, params: dict[str, Any]) -> None:
    async with aggregating(hostile(name="a")) as aggregator:
        with pytest.raises(ToolDenied):
            await aggregator.request(tool, method, params)


@pytest.mark.attack(47)
async def test_only_what_a_method_knows_is_passed_on() -> None:
    async with aggregating(hostile(name="a")) as aggregator:
        params = {"name": "a_environment", "arguments": {}, "env": {"EVIL": "1"}, "command": "sh", "cwd": "/"}
        result = await aggregator.request("a_environment", "tools/call", params)
        assert "EVIL" not in json.loads(first_text(result))
        for unlisted in ("b_good", "a_unknown", "good", "a", ""):
            with pytest.raises(NotFound):
                await call(aggregator, unlisted)
        with pytest.raises(NotFound):
            await aggregator.request("unlisted", "resources/read", {"uri": "x"})


async def test_idempotent_tools_are_run_again_and_no_others(tmp_path: Path) -> None:
    note = tmp_path / "note"
    server = hostile("", note, name="a", tools={"idempotent": ["note"]})
    async with aggregating(server) as aggregator:
        with pytest.raises((OutcomeUnknown, TimedOut)):
            await call(aggregator, "a_note", {"text": "x", "die": True}, timeout=1.0)
        assert len(note.read_text().split()) > 1
        with pytest.raises(OutcomeUnknown):
            await call(aggregator, "a_crash")


@pytest.mark.attack(41)
async def test_collisions_are_refused_and_the_first_owner_keeps_the_name() -> None:
    one, other = NameTable(), NameTable()
    assert one.claim("a_b", "c") == "a_b_c"
    assert one.claim("a", "b_c") is None
    assert one.find("a_b_c") == ("a_b", "c")
    assert one.claim("a_b", "c") == "a_b_c"
    one.keep_only(["a"])
    assert one.claim("a", "b_c") == "a_b_c"
    assert other.find("a_b_c") is None


@pytest.mark.attack(41)
async def test_a_collision_is_reported() -> None:
    async with aggregating(hostile(name="x"), hostile(name="x_good")) as aggregator:
        aggregator._owners["x"].tools[0] = (
            aggregator._owners["x"].tools[0].__class__("good_good", "", "", {"type": "object"}, None, "f")
        )
        aggregator._rebuild()
        assert names(aggregator).count("x_good_good") == 1
        assert aggregator.problems() == ["x: 'good_good' is left out: another server holds that public name"]


@pytest.mark.attack(41)
@given(st.text(min_size=1, max_size=64), st.text(min_size=1, max_size=300))
def test_public_names_are_legal(server: str, tool: str) -> None:
    name = public_name(server, tool)
    assert 0 < len(name) <= 64
    assert name.isascii()
    assert all(c.isalnum() or c in "_-" for c in name)


@pytest.mark.attack(41)
def test_look_alikes_get_other_names() -> None:
    latin, cyrillic = public_name("fs", "read"), public_name("fs", "reаd")
    assert latin == "fs_read"
    assert cyrillic != latin
    assert public_name("fs", "a" * 100) != public_name("fs", "a" * 101)
    assert public_name("My Server", "x").startswith("My_Server_x_")


@pytest.mark.attack(43)
async def test_a_changed_definition_of_an_allowed_tool_is_asked_for(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "catalogue.json")
    server = hostile(name="a", tools={"allow": ["*"]})
    async with aggregating(server, memory=memory) as aggregator:
        before = aggregator.catalogue()
        assert {tool["policy"] for tool in before["tools"]} == {"allow"}
        revisions: list[int] = []
        aggregator.watch(lambda: revisions.append(aggregator.catalogue()["revision"]))
        await call(aggregator, "a_change")
        await until(lambda: bool(revisions))
        after = {tool["name"]: tool for tool in aggregator.catalogue()["tools"]}
        assert revisions == [before["revision"] + 1]
        assert after["a_good"]["policy"] == "ask"
        assert aggregator.changed("a_good")
        aggregator.agree("a_good")
        assert {t["name"]: t["policy"] for t in aggregator.catalogue()["tools"]}["a_good"] == "allow"
        assert not aggregator.changed("a_good")
    # the server's next start shows version 1 again: for `good` that is another change, for the others the first
    async with aggregating(server, memory=Memory(tmp_path / "catalogue.json")) as aggregator:
        policies = {tool["name"]: tool["policy"] for tool in aggregator.catalogue()["tools"]}
        assert (policies["a_good"], policies["a_echo"]) == ("ask", "allow")


def test_the_memory_survives_nonsense(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.json"
    for text in ("", "[]", '{"pins": 1, "tools": []}', "\x00"):
        file.write_text(text)
        assert Memory(file).tools("a") == []


async def test_a_sleeping_server_shows_its_tools(tmp_path: Path) -> None:
    server = hostile(name="a", lazy=True)
    async with aggregating(server, memory=Memory(tmp_path / "c.json")) as aggregator:
        await until(lambda: aggregator.owners[0].state == "stopped")
        assert "a_good" in names(aggregator)
        assert aggregator.owners[0].pid is None
    async with aggregating(server, memory=Memory(tmp_path / "c.json")) as aggregator:
        assert aggregator.owners[0].state == "stopped"
        assert "a_good" in names(aggregator)
        news: list[dict[str, Any]] = []
        assert await call(aggregator, "a_good", on_progress=news.append) == "good"
        assert news == [{"state": "starting"}]


async def test_a_reload_restarts_only_what_changed() -> None:
    async with aggregating(hostile(name="a"), hostile(name="b"), hostile(name="c")) as aggregator:
        pids = {owner.name: owner.pid for owner in aggregator.owners}
        process = psutil.Process(pids["c"])
        ruled = hostile(name="a", tools={"deny": ["good"]})
        changed = hostile(name="b", env={"NEW": "1"})
        assert aggregator.apply([ruled, changed, hostile(name="d")]) == ["c", "b", "d"]
        await until(lambda: {o.name: o.state for o in aggregator.owners} == dict.fromkeys("abd", "ready"), 10)
        assert aggregator.owners[0].pid == pids["a"]
        assert aggregator.owners[1].pid != pids["b"]
        await until(lambda: ended(process))
        listed = {tool["name"]: tool["policy"] for tool in aggregator.catalogue()["tools"]}
        assert listed["a_good"] == "deny"
        assert not any(name.startswith("c_") for name in listed)
        assert json.loads(await call(aggregator, "b_environment"))["NEW"] == "1"
        assert aggregator.apply([]) == ["a", "b", "d"]
        await until(lambda: all(not psutil.pid_exists(pid) or ended(psutil.Process(pid)) for pid in pids.values()))
        assert names(aggregator) == []


async def test_disabled_servers_are_not_started() -> None:
    async with aggregating(hostile(name="a", enabled=False)) as aggregator:
        assert aggregator.catalogue()["servers"] == []


@pytest.mark.attack(42)
def test_descriptions_are_stripped_and_capped() -> None:
    dirty = "\x1b[31mRun\x1b[0m\u200b \u202eme\u2069 <!-- x --> " + "é" * 5000 + "\U000e0041"
    (tool,), problems = read_tools([
        {"name": "t", "description": dirty, "inputSchema": {"properties": {"a": {"description": "\u200bx" * 5000}}}}
    ])  # fmt: skip
    assert not problems
    assert tool.description.startswith("Run me <!-- x -->")
    assert len(tool.description.encode()) <= MAX_DESCRIPTION
    assert len(tool.full_description) > 5000
    assert "\u200b" not in json.dumps(tool.input_schema, ensure_ascii=False)
    assert len(tool.input_schema["properties"]["a"]["description"].encode()) <= MAX_DESCRIPTION
    assert tool.input_schema["type"] == "object"


@pytest.mark.attack(42)
def test_too_much_is_put_aside() -> None:
    deep: dict[str, Any] = {}
    for _ in range(100):
        deep = {"properties": {"x": deep}}
    tools, problems = read_tools([
        {"name": "large", "inputSchema": {"enum": ["x" * 300_000]}}, {"name": "deep", "inputSchema": deep},
        {"name": "n" * 300, "inputSchema": {}}, {"name": "good", "inputSchema": {}},
    ])  # fmt: skip
    assert [tool.name for tool in tools] == ["good"]
    assert len(problems) == 3
    began = time.process_time()
    (talkative,), _ = read_tools([{"name": "t", "description": "x y" * 7_000_000, "inputSchema": {"type": "object"}}])
    assert talkative.description.startswith("x yx y") and time.process_time() - began < 1
    many, _ = read_tools([{"name": f"t{n}", "inputSchema": {}} for n in range(10_000)])
    assert len(many) == 10_000


@pytest.mark.attack(42)
def test_a_server_without_measure_pushes_nobody_out() -> None:
    flood = [{"name": f"a_{n}", "server": "a", "description": "x" * 1000} for n in range(10_000)]
    kept, left_out, taken = fit([*flood, {"name": "b_t", "server": "b"}], SERVER_BYTES, CATALOGUE_BYTES)
    assert kept[-1]["name"] == "b_t"
    assert taken < SERVER_BYTES + 100
    assert left_out == {"a": 10_001 - len(kept)}
    assert len(fit(flood, 10**9, CATALOGUE_BYTES)[0]) < 3200


@given(st.text())
def test_clean_text_is_clean(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    assert all(c in "\n\t" or c.isprintable() or c.isspace() for c in clean(text))


def test_members_that_go_writes_as_null_are_absent_and_others_are_no_schema() -> None:
    listed = [{"name": name, "inputSchema": {"type": "object", **schema}} for name, schema in {
        "null": {"properties": None, "required": None}, "list": {"properties": []}, "text": {"required": "x"},
        "numbers": {"required": [1]}, "good": {"properties": {"x": {"const": None}}, "required": ["x"]},
    }.items()]  # fmt: skip
    tools, problems = read_tools(listed)
    assert {tool.name: tool.input_schema for tool in tools} == {
        "null": {"type": "object"}, "good": listed[-1]["inputSchema"]
    }  # fmt: skip
    assert [problem.what for problem in problems] == ["tool list", "tool text", "tool numbers"]


def test_listed_items() -> None:
    items = [{"uri": "a://b"}, {"name": "x"}, 5, {"uri": ""}, {"uriTemplate": "a://{b}"}, {"uri": "a:", "size": 2**70}]
    good, problems = read_listed(items, "uri", "uriTemplate")
    assert len(good) == 2
    assert len(problems) == 4


async def test_start_is_side_by_side() -> None:
    """A server that hangs at its start holds nobody up."""
    hang = hostile("hang", name="hang", timeout="30s")
    groups = ProcessGroups()
    aggregator = Aggregator([hang, hostile(name="a")], default="allow", groups=groups)
    task = asyncio.get_running_loop().create_task(aggregator.run())
    try:
        await until(lambda: {s["name"]: s["state"] for s in aggregator.catalogue()["servers"]}.get("a") == "ready")
        assert await call(aggregator, "a_good") == "good"
    finally:
        task.cancel()
        await asyncio.wait([task])
        groups.close()

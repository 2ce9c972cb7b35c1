"""One MCP server's life over stdio: hostile servers harm nobody but themselves, and nothing outlives its owner."""

import asyncio
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from bridge.errors import McpError, OutcomeUnknown, ServerDown, TimedOut, ToolResultInvalid
from bridge.servers.calls import Progress, Question
from bridge.servers.definitions import Problem
from bridge.servers.groups import ProcessGroups
from bridge.servers.link import Incoming, Line
from bridge.servers.pace import Pace
from bridge.servers.stdio import open_stdio
from bridge.settings import McpServerSettings
from tests.bridge.conftest import HOSTILE, call, ended, first_text, hostile, running, until


async def test_a_good_server() -> None:
    async with running(hostile()) as owner:
        assert owner.state == "ready"
        assert [tool.name for tool in owner.tools][:2] == ["good", "echo"]
        assert first_text(await call(owner, "echo", {"text": "hällo"})) == "hällo"


@pytest.mark.quiet
@pytest.mark.attack(45)
async def test_a_crash_at_the_start_is_told_and_given_up() -> None:
    async with running(hostile("crash")) as owner:
        assert owner.state == "failed"
        assert owner.error is not None
        assert "exited with code 1" in owner.error
        assert "left-pad" in owner.error
        began = time.monotonic()
        with pytest.raises(ServerDown, match="left-pad") as caught:
            await call(owner, "good")
        assert caught.value.effect == "none"
        assert time.monotonic() - began < 0.1


async def test_a_missing_binary() -> None:
    async with running(hostile(command="no-such-binary-here")) as owner:
        assert owner.state == "failed"
        assert owner.error == "command not found: no-such-binary-here"


async def test_a_missing_folder() -> None:
    settings = hostile(cwd="/no/such/folder")
    async with running(settings) as owner:
        assert owner.state == "failed"
        assert "/no/such/folder" in (owner.error or "")


async def test_an_end_that_goes_wrong_is_an_end_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async with asyncio.timeout(10):
        async with running(hostile()) as owner:
            process = psutil.Process(owner.pid)
            monkeypatch.setitem(sys.modules, "psutil", None)  # closing looks for strays by it
    monkeypatch.undo()
    assert ended(process)


@pytest.mark.attack(45)
async def test_a_hang_in_the_handshake_ends_at_the_timeout() -> None:
    async with running(hostile("hang", timeout="0.3s"), wait=False) as owner:
        await until(lambda: owner.error is not None)
        assert owner.state == "starting"
        assert "handshake" in (owner.error or "")


@pytest.mark.attack(45)
async def test_junk_on_stdout_is_skipped() -> None:
    async with running(hostile("junk")) as owner:
        assert first_text(await call(owner, "noise")) == "after noise"


@pytest.mark.attack(45)
async def test_a_crash_in_a_call() -> None:
    async with running(hostile(env={"TOKEN": "topsecret1"})) as owner:
        other = asyncio.create_task(call(owner, "never"))
        await asyncio.sleep(0.05)
        with pytest.raises(OutcomeUnknown, match="exited with code 13") as caught:
            await call(owner, "crash")
        assert caught.value.effect == "unknown"
        assert "topsecret1" not in str(caught.value)
        assert "about to crash" in str(caught.value)
        with pytest.raises(OutcomeUnknown):
            await other
        assert first_text(await call(owner, "good")) == "good"  # waits for the next start
        assert owner.restarts == 1


async def test_a_repeatable_call_is_sent_again(tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with running(hostile("", note)) as owner:
        with pytest.raises(OutcomeUnknown):
            await call(owner, "note", {"text": "once", "die": True})
        with pytest.raises(TimedOut) as caught:
            await call(owner, "note", {"text": "again", "die": True}, repeatable=True, timeout=1.0)
        assert caught.value.effect == "unknown"
    lines = note.read_text().split()
    assert lines.count("once") == 1
    assert lines.count("again") > 1


@pytest.mark.quiet
@pytest.mark.attack(45)
async def test_death_is_noticed_at_once_even_when_idle() -> None:
    changes: list[float] = []
    async with running(hostile(), changed=lambda: changes.append(time.monotonic())) as owner:
        assert owner.pid is not None
        changes.clear()
        began = time.monotonic()
        os.kill(owner.pid, signal.SIGKILL)
        await until(lambda: bool(changes))
        assert changes[0] - began < 0.2  # 100 ms, and some for a busy machine
        await until(lambda: owner.state == "ready")


async def test_closing_stdout_counts_as_death() -> None:
    async with running(hostile()) as owner:
        with pytest.raises(OutcomeUnknown, match="closed its output"):
            await call(owner, "close_stdout")
        assert first_text(await call(owner, "good")) == "good"


async def test_last_words_count() -> None:
    async with running(hostile()) as owner:
        assert first_text(await call(owner, "exit_after")) == "last words"


@pytest.mark.attack(45)
@pytest.mark.parametrize("misdeed", ["never", "wrong_id", "no_newline"])
async def test_no_answer_is_a_timeout_with_unknown_effect(misdeed: str) -> None:
    async with running(hostile()) as owner:
        with pytest.raises(TimedOut) as caught:
            await call(owner, misdeed, timeout=0.2)
        assert caught.value.effect == "unknown"
        if misdeed != "no_newline":
            assert first_text(await call(owner, "good")) == "good"


@pytest.mark.attack(45)
async def test_late_and_double_answers_are_dropped() -> None:
    async with running(hostile()) as owner:
        with pytest.raises(TimedOut):
            await call(owner, "late", timeout=0.1)
        assert first_text(await call(owner, "twice")) == "first"
        assert first_text(await call(owner, "good")) == "good"


@pytest.mark.attack(45)
@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("nan", {}), ("invalid", {"value": None}), ("invalid", {"value": []}), ("invalid", {"value": {}}),
        ("invalid", {"value": {"content": "text"}}), ("invalid", {"value": {"content": [{"text": "x"}]}}),
    ],
)  # fmt: skip
async def test_invalid_results(tool: str, arguments: dict[str, Any]) -> None:
    async with running(hostile()) as owner:
        with pytest.raises(ToolResultInvalid):
            await call(owner, tool, arguments)
        assert first_text(await call(owner, "good")) == "good"
        assert owner.restarts == 0


@pytest.mark.attack(45)
async def test_long_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.servers.stdio.open_stdio.__kwdefaults__", {"ambient": None, "limit": 4_000_000})
    async with running(hostile()) as owner:
        assert len(first_text(await call(owner, "medium"))) == 70_000
        before = psutil.Process().memory_info().rss
        with pytest.raises(ToolResultInvalid, match="too large"):
            await call(owner, "huge", {"megabytes": 60})
        assert psutil.Process().memory_info().rss - before < 40_000_000
        assert first_text(await call(owner, "good")) == "good"


async def test_twenty_megabytes_take_a_fraction_of_a_second() -> None:
    async with running(hostile()) as owner:
        times = {}
        for size in (5_000_000, 20_000_000):
            began = time.perf_counter()
            assert len(first_text(await call(owner, "big", {"size": size}))) == size
            times[size] = time.perf_counter() - began
        assert times[20_000_000] < 2
        assert times[20_000_000] < 12 * times[5_000_000] + 0.2


@pytest.mark.attack(45)
async def test_a_flood_on_stderr_blocks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with running(hostile()) as owner:
        assert first_text(await call(owner, "flood")) == "flooded"
    assert 0 < len([record for record in caplog.records if "stderr flood" in record.message]) < 1000


@pytest.mark.attack(45)
@pytest.mark.parametrize("behaviour", ["ignore_term", "fork"])
async def test_nothing_of_the_group_survives(behaviour: str, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    began = 0.0
    async with running(hostile(behaviour, note)) as owner:
        child = psutil.Process(int(note.read_text()))
        family = [child, *child.children(recursive=True)]
        assert owner.pid is not None
        began = time.monotonic()
    assert time.monotonic() - began < 4
    await until(lambda: all(map(ended, family)))


async def test_what_left_its_group_but_has_parents_is_ended_too() -> None:
    async with running(hostile()) as owner:
        stray = psutil.Process(int(first_text(await call(owner, "daemon"))))
        assert os.getpgid(stray.pid) != owner.pid
    await until(lambda: ended(stray))


@pytest.mark.attack(45)
async def test_what_left_its_group_and_has_no_parent_ends_with_the_bridge(tmp_path: Path) -> None:
    """Forked twice: nothing leads to it but the variable that it inherited."""
    script = tmp_path / "forks_twice.sh"
    script.write_text(
        f"setsid sh -c 'sleep 300 & echo $! >{tmp_path}/pid' &\nwait\nexec '{sys.executable}' '{HOSTILE}'\n"
    )
    async with running(hostile(command="sh", args=[str(script)])) as owner:
        assert owner.state == "ready"
        stray = psutil.Process(int((tmp_path / "pid").read_text()))
        assert not ended(stray) and stray not in psutil.Process(owner.pid).children(recursive=True)
    await until(lambda: ended(stray))


STORMY = """
import json, sys, threading, time
seen = 0
def send(message): sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + chr(10)); sys.stdout.flush()
def storm():
    for _ in range(300):
        send({"method": "notifications/tools/list_changed"})
        time.sleep(0.002)
for line in sys.stdin:
    asked = json.loads(line)
    if asked["method"] == "initialize":
        said = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}}, "serverInfo": {}}
        send({"id": asked["id"], "result": said})
    elif asked["method"] == "tools/list":
        seen += 1
        send({"id": asked["id"], "result": {"tools": [{"name": f"t{seen}", "inputSchema": {"type": "object"}}]}})
        if seen == 1:
            threading.Thread(target=storm, daemon=True).start()
"""


async def test_a_storm_of_changes_is_looked_at_now_and_then(tmp_path: Path) -> None:
    (tmp_path / "stormy.py").write_text(STORMY)
    shown: list[str] = []
    async with running(hostile(args=[str(tmp_path / "stormy.py")]), changed=lambda: shown.append("")) as owner:
        await asyncio.sleep(1.2)
        assert owner.tools[0].name not in ("t1", "t2")  # the last of the storm was seen
        assert len(shown) < 12


async def test_progress() -> None:
    heard: list[Progress] = []
    async with running(hostile()) as owner:
        await call(owner, "progress", on_progress=heard.append)
        assert heard == [Progress(1, 2, "step 1"), Progress(2, 2, "step 2")]


@pytest.mark.quiet
async def test_a_flood_of_progress_starves_nobody() -> None:
    async with running(hostile()) as owner, running(hostile(name="other")) as other:
        flood = asyncio.create_task(call(owner, "progress_flood", on_progress=lambda _: None))
        worst = 0.0
        while not flood.done():
            began = time.perf_counter()
            await call(other, "good")
            worst = max(worst, time.perf_counter() - began)
        await flood
        assert worst < 0.5


async def test_the_servers_own_error_is_its_answer() -> None:
    async with running(hostile()) as owner:
        with pytest.raises(McpError) as caught:
            await call(owner, "error")
        assert (caught.value.code, caught.value.message, caught.value.data) == (-32602, "bad arguments", {"x": 1})
        assert (await call(owner, "is_error"))["isError"] is True


async def test_cancelling_tells_the_server(tmp_path: Path) -> None:
    note = tmp_path / "note"
    async with running(hostile("", note)) as owner:
        task = asyncio.create_task(call(owner, "cancelled"))
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: note.exists() and note.read_text() != "")
        assert json.loads(note.read_text())["requestId"] > 0
        assert first_text(await call(owner, "good")) == "good"


async def test_a_question_goes_to_the_person_and_stops_the_clock() -> None:
    async def person(question: Question) -> dict[str, Any]:
        assert question.message == "Which colour?"
        await asyncio.sleep(0.4)
        return {"action": "accept", "content": {"colour": "blue"}}

    async with running(hostile()) as owner:
        result = await call(owner, "ask", on_question=person, timeout=0.3)
        assert json.loads(first_text(result)) == {"action": "accept", "content": {"colour": "blue"}}
        assert json.loads(first_text(await call(owner, "ask"))) == {"action": "cancel"}


@pytest.mark.attack(45)
@pytest.mark.parametrize("what", ["ping", "question"])
async def test_a_server_that_asks_without_end_and_never_listens_fills_no_memory(what: str) -> None:
    most = 0

    async def person(question: Question) -> dict[str, Any]:
        nonlocal most
        most = max(most, len(asyncio.all_tasks()))
        await asyncio.sleep(30)
        return {"action": "cancel"}

    async with running(hostile()) as owner:
        flood = asyncio.create_task(call(owner, "ask_flood", {"what": what}, on_question=person, timeout=30))
        while not flood.done():
            most = max(most, len(asyncio.all_tasks()))
            await asyncio.sleep(0.01)
        assert first_text(await flood) == "done"
        assert most < 1100
        assert owner.state == "ready"


@pytest.mark.attack(45)
async def test_a_question_may_outlive_its_call(tmp_path: Path) -> None:
    """The server asks, and answers its call without waiting: what the person says then still reaches it."""
    said = asyncio.Event()
    note = tmp_path / "answer"

    async def person(question: Question) -> dict[str, Any]:
        await said.wait()
        return {"action": "accept", "content": {}}

    async with running(hostile()) as owner:
        assert first_text(await call(owner, "ask_and_go", {"note": str(note)}, on_question=person)) == "went on"
        said.set()
        await until(lambda: note.exists() and note.read_text() != "")
        assert json.loads(note.read_text()) == {"action": "accept", "content": {}}
        assert first_text(await call(owner, "good")) == "good"


@pytest.mark.parametrize(
    "schema",
    [{"properties": {"a": True}}, {"properties": ["a"]}, {"required": 7}, "form",
     {"properties": {"a": {"description": "x" * 5_000_000}}}],
    ids=["field", "fields", "required", "text", "longer than a frame"],
)  # fmt: skip
async def test_a_question_that_is_no_form_is_shown_to_nobody(schema: Any) -> None:
    async def person(question: Question) -> dict[str, Any]:
        raise AssertionError("no client can show this")

    async with running(hostile()) as owner:
        result = await call(owner, "ask", {"schema": schema}, on_question=person)
        assert json.loads(first_text(result)) == {"action": "cancel"}


async def test_a_question_in_calls_of_two_people_is_shown_to_neither() -> None:
    async def person(question: Question) -> dict[str, Any]:
        raise AssertionError("shown to the wrong person")

    async with running(hostile()) as owner:
        other = asyncio.create_task(call(owner, "never", on_question=person, scope="bob", timeout=1))
        await asyncio.sleep(0.02)
        result = await call(owner, "ask", on_question=person, scope="alice")
        assert json.loads(first_text(result)) == {"action": "cancel"}
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


async def test_sampling_is_declined() -> None:
    async with running(hostile()) as owner:
        assert json.loads(first_text(await call(owner, "sample")))["message"] == "sampling is not allowed here"


async def test_the_modern_era() -> None:
    async def person(question: Question) -> dict[str, Any]:
        return {"action": "accept", "content": {}}

    async with running(hostile("modern")) as owner:
        assert owner.state == "ready"
        result = await call(owner, "good", on_question=person)
        assert json.loads(first_text(result)) == [{"a": {"action": "accept", "content": {}}}, "sealed"]


async def test_an_unknown_protocol_is_told() -> None:
    async with running(hostile("old")) as owner:
        assert owner.state == "failed"
        assert "1999-01-01" in (owner.error or "")


async def test_malformed_tools_hide_no_good_ones() -> None:
    async with running(hostile("malformed")) as owner:
        names = [tool.name for tool in owner.tools]
        assert names[:3] == ["good", "echo", "crash"]
        assert "schema_list" not in names
        assert len(owner.offers.problems) == 8
        assert first_text(await call(owner, "good")) == "good"


@pytest.mark.parametrize("size", [0, 2_000_000], ids=["small", "large"])
async def test_a_tool_that_is_no_json_hides_no_other(size: int) -> None:
    """As Python and others write numbers that JSON does not have."""
    async with running(hostile("unreadable", Path(str(size)))) as owner:
        assert [tool.name for tool in owner.tools][:5] == ["good", "echo", "not_relied_on", "filler", "crash"]
        assert {problem.what for problem in owner.offers.problems} == {"tool nan", "tool inf", "tool hint"}
        assert {"NaN" in problem.reason for problem in owner.offers.problems} == {True}
        assert first_text(await call(owner, "good")) == "good"
        with pytest.raises(ToolResultInvalid):
            await call(owner, "nan")


@pytest.mark.parametrize(("works", "kept"), [("none", 0), ("templates", 1), ("resources", 2)])
async def test_resources_that_cannot_be_listed_hide_no_tool(works: str, kept: int) -> None:
    """Nor do prompts, nor templates of resources the resources."""
    async with running(hostile("lists_fail", Path(works))) as owner:
        assert owner.state == "ready", owner.error
        assert [tool.name for tool in owner.tools][:2] == ["good", "echo"]
        assert len(owner.offers.resources) == kept
        assert Problem("prompts/list", "not today") in owner.offers.problems
        assert first_text(await call(owner, "good")) == "good"
        await call(owner, "change")
        await until(lambda: owner.tools[0].description == "does good v2")
        assert Problem("prompts/list", "not today") in owner.offers.problems


@pytest.mark.attack(45)
async def test_a_server_with_thousands_of_malformed_tools_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    async with running(hostile("many_malformed")) as owner:
        await call(owner, "change")
        began = time.process_time()
        await until(lambda: owner.tools[0].description == "does good v2")
        assert time.process_time() - began < 2
        assert len(owner.offers.problems) == 9_000
    assert len(caplog.records) < 100
    assert "8980 more" in caplog.text


async def test_what_a_server_says_about_itself_is_one_clean_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with running(hostile("escapes"), wait=False) as owner:
        await owner.settled(first=True)
        assert owner.error is not None
        assert owner.error.startswith("no key") and owner.error.isprintable() and len(owner.error) < 600
    assert "no key" in caplog.text and "\x1b" not in caplog.text and "\u202e" not in caplog.text


async def test_a_changed_list_is_read_again() -> None:
    async with running(hostile()) as owner:
        before = owner.tools[0].fingerprint
        await call(owner, "change")
        await until(lambda: owner.tools[0].fingerprint != before)
        assert owner.tools[0].description == "does good v2"


async def test_listings_are_polled() -> None:
    changed = asyncio.Event()
    async with running(hostile(), poll_seconds=0.05, changed=changed.set):
        changed.clear()
        await asyncio.wait_for(changed.wait(), 2)


async def test_the_environment_is_scrubbed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "x")
    monkeypatch.setenv("WANTED", "yes")
    settings = hostile(env={"OWN": 5}, inherit_env=["WANTED", "AI_BRIDGE_TEST"])
    async with running(settings) as owner:
        seen = json.loads(first_text(await call(owner, "environment")))
    assert seen["OWN"] == "5"
    assert seen["WANTED"] == "yes"
    assert seen["PATH"] == os.environ["PATH"]
    assert "SOME_SECRET" not in seen
    assert "PYTHONPATH" not in seen


async def test_lazy_starts_with_the_first_call_and_stops_when_idle() -> None:
    waits: list[str] = []
    async with running(hostile(lazy=True, idle_stop="0.2s")) as owner:
        assert (owner.state, owner.pid) == ("stopped", None)
        assert first_text(await call(owner, "good", on_wait=waits.append)) == "good"
        assert waits == ["starting"]
        pid = owner.pid
        assert pid is not None
        await until(lambda: owner.state == "stopped")
        assert not psutil.pid_exists(pid)
        assert owner.tools[0].name == "good"
        assert first_text(await call(owner, "good")) == "good"
        assert owner.error is None


async def test_idle_stop_waits_for_calls() -> None:
    async with running(hostile(idle_stop="0.1s")) as owner:
        assert first_text(await call(owner, "slow", {"seconds": 0.4})) == "slow"


async def test_max_in_flight() -> None:
    waits: list[str] = []
    async with running(hostile(max_in_flight=1)) as owner:
        slow = asyncio.create_task(call(owner, "slow"))
        await asyncio.sleep(0.02)
        assert first_text(await call(owner, "good", on_wait=waits.append)) == "good"
        assert slow.done()
        assert waits == ["queued"]
        with pytest.raises(TimedOut) as caught:
            await asyncio.gather(call(owner, "never", timeout=0.5), call(owner, "good", timeout=0.1))
        assert caught.value.effect == "none"


async def test_quick_deaths_are_given_up_and_a_restart_helps(tmp_path: Path) -> None:
    async with running(hostile("crash_after")) as owner:
        await until(lambda: owner.state == "failed", 10)
        assert owner.restarts == 5
        owner.restart()
        await until(lambda: owner.restarts > 5, 10)


def test_the_pace() -> None:
    pace = Pace()
    delays = []
    for _ in range(4):
        delay, given_up = pace.ended(1.0)
        assert not given_up
        delays.append(delay)
    assert 0.05 <= delays[0] <= 0.1
    assert 0.4 <= delays[3] <= 0.8
    assert pace.ended(1.0)[1] is True
    assert pace.ended(70.0) < (0.2, True)
    for _ in range(20):
        delay, given_up = pace.ended(1.0, useful=True)
        assert not given_up
    assert delay <= 30
    assert Pace().ended(0, hopeless=True)[1] is True


@pytest.mark.attack(45)
async def test_a_message_that_cannot_be_handled_costs_the_next_ones_nothing() -> None:
    """They may come in one piece, and be the answers to other people's calls."""
    heard: list[bytes] = []

    def receive(incoming: Incoming) -> None:
        assert isinstance(incoming, Line)
        heard.append(incoming.data)
        if incoming.data == b"1":
            raise RuntimeError("a listener's mistake")

    settings = McpServerSettings(name="x", command=sys.executable, args=("-c", "print('1\\n2\\n3')"))
    groups = ProcessGroups()
    link = await open_stdio(settings, receive, lambda reason: None, groups)
    try:
        await until(lambda: len(heard) == 3)
    finally:
        await link.close()
        groups.close()
    assert heard == [b"1", b"2", b"3"]

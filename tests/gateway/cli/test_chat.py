"""`gateway chat` by pipe and in a pseudo-terminal, on the running gateway and on one of its own."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.dropping_gateway import DroppingGateway, answer
from tests.fakes.pseudo_terminal import PseudoTerminal
from tests.gateway.cli.conftest import Run, Served


def test_one_question_without_a_gateway(gateway: Run, home: Path):
    done = gateway("chat", "hello", "there")
    assert done.returncode == 0, done.stderr
    assert "hello there" in done.stdout and done.stderr == ""
    assert not (home / "gateway.json").exists(), "the gateway of its own has left"


def test_one_question_by_pipe(gateway: Run):
    done = gateway("chat", stdin="hello from a pipe\n")
    assert done.returncode == 0 and "hello from a pipe" in done.stdout


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n", ""])
def test_the_end_of_the_last_line_is_not_said(gateway: Run, served: Served, end: str):
    assert gateway("chat", "--session", "piped", stdin=f"  two\nlines {end}").returncode == 0
    exported = gateway("session", "export", "piped").stdout
    assert [row["text"] for row in map(json.loads, exported.splitlines()) if row.get("role") == "user"] == [
        "  two\nlines "
    ]


def test_nothing_to_say_is_wrong_usage(gateway: Run):
    assert gateway("chat", stdin="  \n").returncode == 2
    assert gateway("chat", " ").returncode == 2


def test_json_is_every_event(gateway: Run, served: Served):
    done = gateway("chat", "--json", "hello there")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[0]["type"] == "chat.started" and events[-1]["type"] == "chat.done"
    assert "".join(event.get("delta", "") for event in events) == events[-1]["text"]
    assert {event["session_key"] for event in events} == {"agent:main:cli:direct:admin"}
    sequence = [event["seq"] for event in events]
    assert sequence == sorted(set(sequence))


def test_the_sessions_of_a_person_and_of_another(gateway: Run, served: Served):
    made = json.loads(gateway("token", "create", "--user", "ann", "--role", "user", "--json").stdout)
    assert gateway("chat", "hello", GATEWAY_TOKEN=made["token"]).returncode == 0
    assert gateway("chat", "--session", "agent:main:cli:direct:admin", "x", GATEWAY_TOKEN=made["token"]).returncode == 1
    address = "ws" + served.url.removeprefix("http") + "/ws"
    done = gateway("chat", "--url", address, "hello", GATEWAY_TOKEN=made["token"])
    assert done.returncode == 0
    keys = [row["session_key"] for row in json.loads(gateway("session", "list", "--json").stdout)["sessions"]]
    assert "agent:main:cli:direct:ann" not in keys


@pytest.mark.parametrize(
    ("arguments", "environ", "said", "code"),
    [
        (("--url", "ws://127.0.0.1:9/ws"), {}, "cannot reach ws://127.0.0.1:9/ws: Connection refused", 1),
        (("--url", "http://127.0.0.1:9/"), {}, "not a WebSocket address", 2),
        ((), {"GATEWAY_TOKEN": "wrong"}, "token", 1),
    ],
)
def test_what_cannot_work_is_one_line(
    gateway: Run, served: Served, arguments: tuple[str, ...], environ: dict[str, str], said: str, code: int
):
    done = gateway("chat", *arguments, "hello", **environ)
    assert done.returncode == code and said in done.stderr and len(done.stderr.splitlines()) == 1


def test_a_reader_that_goes_away_is_no_crash(gateway: Run, served: Served):
    program = [sys.executable, "-m", "gateway", "chat", "--json", "tell me about yourself"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert "Traceback" not in process.stderr.read() and process.wait(30) == 1


@pytest.mark.parametrize("ended_by", ["its reader", "a signal"])
def test_an_answer_that_is_cut_is_cut_as_by_a_clean_stop(gateway: Run, home: Path, ended_by: str):
    """The gateway of its own stops like every other: no attempt is used up, and no number is left out."""
    program = [sys.executable, "-m", "gateway", "chat", "--json", "count to 500"]
    environ = {**os.environ, "GATEWAY_HOME": str(home)}
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None and process.stderr is not None
        for _ in range(5):
            process.stdout.readline()
        if ended_by == "a signal":
            process.send_signal(signal.SIGTERM)
        else:
            process.stdout.close()
        assert process.wait(30) == (0 if ended_by == "a signal" else 1)
    rows = [
        json.loads(line) for line in gateway("session", "export", "agent:main:cli:direct:admin").stdout.splitlines()
    ]
    assert [row["type"] for row in rows] == ["session", "message", "turn.started", "turn.paused"]
    cut = rows[-1]["seq"]
    told = [json.loads(line) for line in gateway("chat", "--json", "hello").stdout.splitlines()]
    rows = [
        json.loads(line) for line in gateway("session", "export", "agent:main:cli:direct:admin").stdout.splitlines()
    ]
    assert rows[4]["seq"] == cut + 1
    assert {row["attempt"] for row in rows if row["type"] == "turn.started"} == {1}
    assert told[-1]["type"] == "chat.done"


def test_a_conversation_in_a_terminal(home: Path, tmp_path: Path):
    with PseudoTerminal([sys.executable, "-m", "gateway", "chat"], cwd=tmp_path) as person:
        person.expect("Connected to .* as admin")
        person.expect("›")
        person.send("hello there\r")
        person.expect("You said: “hello there”")
        person.expect("›")
        person.send("/help\r")
        person.expect(r"/new – start a new conversation\s*\n")
        person.expect("›")
        person.send("what time is it?\r")
        person.expect("⚙ clock")
        person.expect("✓ clock")
        person.expect("›")
        person.send("\x1b[A\x1b[A\x1b[A\r")  # the history: three up
        person.expect("You said: “hello there”")
        person.expect("›")
        person.send("\x03")
        person.expect("Once more leaves")
        person.send("\x03")
        assert person.wait() == 0
    assert "hello there" in (home / "chat_history").read_text()
    assert (home / "chat_history").stat().st_mode & 0o077 == 0


def in_terminal(gateway: DroppingGateway, person: Any, *arguments: str) -> Any:
    """Let `person` work at a terminal connected to the fake, while the fake's loop runs."""

    def sit_down() -> None:
        program = [sys.executable, "-m", "gateway", "chat", "--url", gateway.url, "--session", "S", *arguments]
        with PseudoTerminal(program) as terminal:
            person(terminal)

    return asyncio.to_thread(sit_down)


async def test_control_c_stops_the_answer_and_a_second_one_leaves():
    async def endless(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        gateway.emit("chat.delta", message_id, delta="It goes on ")
        if text == "stop":
            await gateway.aborted.wait()
            gateway.emit("chat.done", message_id, text="It goes on ", finish_reason="cancelled", usage={})

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("stop\r")
        terminal.expect("It goes on")
        terminal.send("\x03")
        terminal.expect(r"\(stopped\)")
        terminal.expect("›")
        terminal.send("endless\r")
        terminal.expect("It goes on")
        terminal.send("\x03")
        terminal.expect("once more leaves")
        terminal.send("\x03")
        assert terminal.wait() == 0

    async with DroppingGateway() as gateway:
        gateway.script = endless
        await in_terminal(gateway, person)


@pytest.mark.parametrize(
    ("key", "decision"),
    [
        ("o", "allow_once"),
        ("s", "allow_session"),
        ("a", "allow_always"),
        ("", "deny"),
        ("是", "allow_once"),
        ("总是允许", "allow_always"),
        ("不是", "deny"),
    ],
)
async def test_an_approval_is_asked_inline(key: str, decision: str):
    async def asking(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit(
            "approval.requested", message_id, approval_id="a1", call_id="c", tool="fs_write",
            arguments={"path": "/home/x", "hidden": "\u202e\x1b[2J"}, risk="writes a file", expires_at="",
        )  # fmt: skip
        await gateway.resolved.wait()
        gateway.emit("approval.resolved", message_id, approval_id="a1", decision=decision, by="ann")
        await answer(gateway, message_id, text)

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("do it\r")
        terminal.expect("May the assistant use fs_write")
        terminal.expect("/home/x")
        terminal.expect(r"\[N\]o:")
        time.sleep(0.1)
        terminal.send(key + "\r")
        terminal.expect("You said do it")
        terminal.expect("›")
        assert "\u202e" not in terminal.raw and "\x1b[2J" not in terminal.raw
        terminal.send("\x04")
        assert terminal.wait() == 0

    async with DroppingGateway() as gateway:
        gateway.script = asking
        await in_terminal(gateway, person)
        [given] = [params for method, params in gateway.calls if method == "approval.resolve"]
    assert given == {"approval_id": "a1", "decision": decision}


async def test_somebody_else_may_answer_first():
    async def asking(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit(
            "approval.requested", message_id, approval_id="a1", call_id="c", tool="fs_write", arguments={}, risk="",
            expires_at="",
        )  # fmt: skip
        await asyncio.sleep(0.6)
        gateway.emit("approval.resolved", message_id, approval_id="a1", decision="allow_once", by="ann")
        await answer(gateway, message_id, text)

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("do it\r")
        terminal.expect(r"\[N\]o:")
        terminal.expect("You said do it")
        terminal.expect("›")
        terminal.send("\x04")
        assert terminal.wait() == 0

    async with DroppingGateway() as gateway:
        gateway.script = asking
        await in_terminal(gateway, person)


@pytest.mark.attack(76)
async def test_a_lost_connection_goes_on_in_mid_word():
    async def dropping(gateway: DroppingGateway, message_id: str, text: str) -> None:
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        gateway.emit("chat.delta", message_id, delta="An answer cut in mid wo")
        await gateway.drop()
        gateway.emit("chat.delta", message_id, delta="rd and mended.")
        gateway.emit(
            "chat.done", message_id, text="An answer cut in mid word and mended.", finish_reason="stop", usage={}
        )

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("go\r")
        terminal.expect("connection is lost")
        terminal.expect("Connected again")
        terminal.expect("mended")
        terminal.expect("›")
        terminal.send("\x04")
        assert terminal.wait() == 0

    async with DroppingGateway() as gateway:
        gateway.script = dropping
        await in_terminal(gateway, person)


async def test_what_others_say_shows_up_above_the_prompt():
    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("hello\r")
        terminal.expect("You said hello")
        terminal.expect("›")
        terminal.send("half a line")
        terminal.expect("half a line")
        ready.set()
        terminal.expect("from a phone")
        terminal.expect("You said hi too")
        terminal.send("\x03")
        terminal.expect("Once more")
        terminal.expect("›")
        terminal.send("\x04")
        assert terminal.wait() == 0

    import threading

    ready = threading.Event()
    async with DroppingGateway() as gateway, asyncio.TaskGroup() as tasks:
        tasks.create_task(in_terminal(gateway, person))
        await asyncio.to_thread(ready.wait, 20)
        gateway.emit("chat.message", "m9", role="user", text="from a phone", channel="telegram")
        await answer(gateway, "m9", "hi too")


async def test_hostile_output_moves_nothing_on_the_terminal():
    async def hostile(gateway: DroppingGateway, message_id: str, text: str) -> None:
        evil = "start \x1b]0;owned\x07\x1b[2J\x1b[1;1H\u202e end"
        gateway.emit("chat.started", message_id, mode="single", model="fake", attempt=1)
        gateway.emit("chat.delta", message_id, delta=evil)
        gateway.emit("tool.started", message_id, call_id="c", name="t\x1b[31m", arguments={"a": "\x1b[2J"})
        gateway.emit("chat.done", message_id, text=evil, finish_reason="stop", usage={})

    def person(terminal: PseudoTerminal) -> None:
        terminal.expect("›")
        terminal.send("go\r")
        terminal.expect("end")
        terminal.expect("›")
        terminal.send("\x04")
        assert terminal.wait() == 0
        assert "\x1b]0;owned" not in terminal.raw and "\x1b[2J" not in terminal.raw and "\u202e" not in terminal.raw

    async with DroppingGateway() as gateway:
        gateway.script = hostile
        await in_terminal(gateway, person)

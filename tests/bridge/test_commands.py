"""The commands of `ai-bridge` as processes: what they print, what they exit with, with no gateway anywhere."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from bridge.pairing import http_base, qr_lines, qr_lines_of_colours
from bridge.service import plan
from tests.bridge.conftest import HOSTILE
from tests.fakes.pseudo_terminal import PseudoTerminal

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def entry(behaviour: str = "", **more: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [HOSTILE, behaviour], "inherit_env": ["AI_BRIDGE_TEST"], **more}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "bridge" / "config.yaml"
    path.parent.mkdir()
    rules = {"allow": ["echo", "is_error", "error", "crash", "big"], "deny": ["slow"]}
    write(path, {"fs": entry(tools=rules)})
    return path


def write(path: Path, servers: dict[str, Any], **more: Any) -> None:
    path.write_text(json.dumps({"mcp_servers": servers, **more}))


@pytest.fixture
def bridge(config: Path) -> Run:
    def run(*arguments: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "bridge", *arguments], input=stdin, capture_output=True, text=True, timeout=60,
            env={**os.environ, "AI_BRIDGE_CONFIG": str(config), "HOME": str(config.parent.parent)}, check=False,
        )  # fmt: skip

    return run


def test_a_call_without_a_gateway(bridge: Run, config: Path) -> None:
    done = bridge("call", "fs_echo", '{"text": "hällo"}')
    assert (done.returncode, done.stdout) == (0, "hällo\n")
    assert "fs: ready" in done.stderr
    events = [json.loads(line) for line in bridge("audit", "tail").stdout.splitlines()]
    assert [event["event"] for event in events] == ["tool.intent", "tool.outcome"]
    assert "hällo" not in (config.parent / "audit.jsonl").read_text()
    assert bridge("audit", "verify").returncode == 0
    whole = json.loads(bridge("call", "fs_echo", '{"text": "x"}', "--json").stdout)
    assert whole == {"content": [{"type": "text", "text": "x"}]}
    assert bridge("call", "fs_echo", "-", stdin='{"text": "piped"}').stdout == "piped\n"


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["fs_good"], 5, "use --yes"), (["fs_good", "--yes"], 0, ""), (["fs_slow", "--yes"], 5, "denied by the rule"),
        (["fs_is_error"], 4, ""), (["fs_error"], 4, ""), (["fs_crash"], 1, "exited with code 13"),
        (["fs_ecko"], 1, "did you mean fs_echo?"), (["other_tool"], 1, "no tool named"),
        (["fs_echo", "{"], 2, "not JSON"), (["fs_echo", "[]"], 2, "object"), ([], 2, "Missing argument"),
    ],
)  # fmt: skip
def test_exit_codes_of_calls(bridge: Run, arguments: list[str], code: int, says: str) -> None:
    done = bridge("call", *arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_dangerous_words_ask_even_where_allowed(bridge: Run, config: Path) -> None:
    write(config, {"shell": entry(tools={"allow": ["*"]})})
    assert bridge("call", "shell_echo", '{"text": "rm -rf /"}').returncode == 5
    assert bridge("call", "shell_echo", '{"text": "ls"}').returncode == 0


def test_a_broken_audit_log_stops_the_call(bridge: Run, config: Path) -> None:
    (config.parent / "audit.jsonl").mkdir()
    done = bridge("call", "fs_echo", '{"text": "x"}')
    assert (done.returncode, done.stdout) == (1, "")


def test_check_tells_each_servers_reason(bridge: Run, config: Path) -> None:
    assert bridge("check").returncode == 0
    servers = {"good": entry(), "bad": entry("crash"), "gone": {"command": "no-such-thing"}, "off": {"command": "x"}}
    servers["off"]["enabled"] = False
    write(config, servers)
    done = bridge("check")
    assert done.returncode == 1
    assert "good: ready" in done.stdout
    assert "left-pad" in done.stdout
    assert "gone: command not found: no-such-thing" in done.stdout
    assert "off" not in done.stdout
    told = json.loads(bridge("check", "--json").stdout)
    assert {one["name"]: one["ok"] for one in told["servers"]} == {"good": True, "bad": False, "gone": False}


def test_check_refuses_what_run_would_refuse(bridge: Run, config: Path) -> None:
    link = {"url": "ws://gateway.example/v1/tunnel", "token": "t0ken"}
    write(config, {"good": entry()}, server=link)
    for command in ("check", "run"):
        done = bridge(command)
        assert done.returncode == 3 and "ws://" in done.stderr and "t0ken" not in done.stderr
    write(config, {"good": entry()}, server=link | {"url": "ws://127.0.0.1:9/v1/tunnel"})
    assert bridge("check").returncode == 0


def test_tools(bridge: Run) -> None:
    done = bridge("tools")
    assert done.returncode == 0
    assert "fs_echo  [allow]  does echo v1" in done.stdout
    assert "fs_slow  [deny]" in done.stdout
    catalogue = json.loads(bridge("tools", "--json").stdout)
    assert catalogue["servers"] == [{"name": "fs", "state": "ready"}]


def test_nothing_configured_is_said(bridge: Run, config: Path) -> None:
    write(config, {})
    for command, code in (("check", 1), ("tools", 0)):
        done = bridge(command)
        assert (done.returncode, done.stdout) == (code, "") and "next: ai-bridge import" in done.stderr


def test_a_warning_says_which_server(bridge: Run, config: Path) -> None:
    write(config, {"bad": entry("crash"), "gone": {"command": "no-such-thing"}})
    lines = bridge("check").stderr.splitlines()
    assert lines and all("bad: " in line or "gone: " in line for line in lines), lines


def test_short_help(bridge: Run) -> None:
    for command in ([], ["audit"], ["service", "install"], ["call"]):
        done = bridge(*command, "-h")
        assert done.returncode == 0 and "--help" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["run"], 2, "server.url is missing"), (["run", "--config", "/no/such"], 2, "/no/such: no such file"),
        (["nonsense"], 2, "No such command"), (["run", "--nonsense"], 2, "No such option"),
        (["status"], 1, ""), (["approve", "abc"], 1, ""), (["audit", "verify"], 0, ""), (["--version"], 0, ""),
        (["connect", "ws://gateway.example/tunnel", "--token", "x"], 3, "wss://"),
        (["connect", "ws://10.0.0.1/tunnel", "--token", "x"], 3, "wss://"),
        (["connect", "ftp://x"], 2, "wss://"), (["connect", "wss://x.example/t?token=y"], 2, "never goes into the URL"),
        (["connect", "wss://x.example/t"], 2, "--pair or --token"),
        (["import", "--from", "/no/such"], 2, "neither a file"),
    ],
)  # fmt: skip
def test_exit_codes(bridge: Run, arguments: list[str], code: int, says: str) -> None:
    done = bridge(*arguments)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plain_socket_to_another_machine_is_refused(bridge: Run, config: Path) -> None:
    write(config, {}, server={"url": "ws://192.0.2.1/v1/tunnel", "token": "x"})
    assert bridge("run").returncode == 3


def test_mistakes_are_named_with_their_place(bridge: Run, config: Path) -> None:
    config.write_text("version: '1.0'\nserver:\n  prot: 1\nmcp_servers:\n  - name: a\n    comand: x\n")
    done = bridge("check")
    assert done.returncode == 2
    assert f"{config}:3:3 server.prot: unknown key" in done.stderr
    assert f"{config}:6:5 mcp_servers[0].comand: unknown key (did you mean 'command'?)" in done.stderr


def test_connect_remembers(bridge: Run, config: Path) -> None:
    done = bridge("connect", "gateway.example", "--token", "-", "--name", "desk", "--save-only", stdin="sekret\n")
    assert done.returncode == 0, done.stderr
    assert "sekret" not in config.read_text() + done.stderr + done.stdout
    assert (config.parent / "secrets.yaml").stat().st_mode & 0o777 == 0o600
    told = json.loads(bridge("doctor", "--json").stdout)
    names = {check["name"]: check for check in told["checks"]}
    assert names["configuration"]["ok"]
    assert "wss://gateway.example/v1/tunnel" in config.read_text()


def test_doctor_names_the_next_command(bridge: Run, config: Path) -> None:
    write(config, {"x": {"command": "no-such-thing"}})
    done = bridge("doctor")
    assert done.returncode == 1
    assert "FAIL x: command not found: no-such-thing -> install no-such-thing" in done.stdout
    assert "ai-bridge connect" in done.stdout
    config.unlink()
    assert bridge("doctor").returncode == 1


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        ({"command": "~nobody-here/x"}, "no such person: ~nobody-here"),
        ({"command": "sh", "cwd": "~nobody-here/x"}, "no such person: ~nobody-here"),
        ({"command": "sh", "cwd": "/no/such/folder"}, "the folder in 'cwd' does not exist: /no/such/folder"),
        ({"command": "sh -c true"}, "what follows the program goes into 'args'"),
        ({"command": "/etc/passwd"}, "/etc/passwd is no program that may be run"), ({"command": "/etc"}, "not found"),
    ],
)  # fmt: skip
def test_a_program_that_cannot_be_started_is_told_in_words(
    bridge: Run, config: Path, entry: dict[str, Any], says: str
) -> None:
    write(config, {"x": entry})
    for command in "doctor", "check":
        done = bridge(command)
        assert done.returncode == 1
        assert says in done.stdout and "Error" not in done.stdout + done.stderr, done


@pytest.mark.parametrize(
    "url", ["wss://x:99999/", "wss://x:abc/", "wss://[::1/", "wss://a b/", "wss://x/#y", "wss://x\n/", "wss://x:0/"]
)
def test_an_address_that_is_none_is_a_mistake_with_its_place(bridge: Run, config: Path, url: str) -> None:
    write(config, {}, server={"url": url, "token": "t"})
    for command in "run", "check", "doctor":
        done = bridge(command)
        assert "config.yaml:1:" in done.stdout + done.stderr and " server" in done.stdout + done.stderr
        assert done.returncode == (1 if command == "doctor" else 2)
    assert bridge("connect", url, "--token", "t").returncode == 2
    config.write_text(json.dumps({"mcp_servers": {"x": {"url": url.replace("wss", "http").replace("#y", " y")}}}))
    done = bridge("check")
    assert (done.returncode, "mcp_servers.x" in done.stderr) == (2, True), done


def test_what_a_tool_says_moves_no_cursor(config: Path) -> None:
    """At a terminal; whoever reads it from a pipe gets it as it is."""
    arguments = [sys.executable, "-m", "bridge", "call", "fs_echo", json.dumps({"text": "a\x1b[2J\u202eb\nc"})]
    environ = {"AI_BRIDGE_CONFIG": str(config), "AI_BRIDGE_TEST": os.environ["AI_BRIDGE_TEST"]}
    with PseudoTerminal(arguments, environ=environ) as person:
        assert person.wait() == 0
    assert "ab\r\nc" in person.raw and "[2J" not in person.raw
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env={**os.environ, **environ})
    assert done.stdout == "a\x1b[2J\u202eb\nc\n"


def test_a_service_that_cannot_be_written_is_told_in_words(bridge: Run, config: Path) -> None:
    (config.parent.parent / ".config").write_text("no folder")
    said = bridge("service", "install").stderr
    assert "that did not work: " in said and "Errno" not in said, said


def test_the_service_is_shown_before_it_is_installed(bridge: Run, config: Path) -> None:
    done = bridge("service", "install", "--dry-run")
    assert done.returncode == 0
    assert str(config) in done.stdout


@pytest.mark.parametrize("system", ["linux", "darwin", "win32"])
def test_services_of_each_system(system: str) -> None:
    config = Path('/home/a b/100% "x"/config.yaml')
    wanted = plan(config, {"HOME": "/h", "USERPROFILE": "/h", "PATH": "/bin:/a b"}, system, "/py thon")
    texts = "".join(wanted.files.values()) + repr(wanted.commands)
    assert "ai-bridge" in texts
    if system == "linux":
        assert '"/home/a b/100%% \\"x\\"/config.yaml"' in texts
        assert '"PATH=/bin:/a b"' in texts
        assert list(wanted.files) == [Path("/h/.config/systemd/user/ai-bridge.service")]
    if system == "darwin":
        assert '<string>/home/a b/100% "x"/config.yaml</string>' in texts


def test_diag_tells_everything_but_secrets(bridge: Run, config: Path) -> None:
    (config.parent / "secrets.yaml").write_text("TOKEN: canary-one\n")
    (config.parent / "secrets.yaml").chmod(0o600)
    servers = {"fs": entry(env={"KEY": "${secret:TOKEN}", "OTHER": "canary-two"}), "gone": {"command": "no-such-thing"}}
    servers["fs"]["args"].append("--token=${secret:TOKEN}")
    write(config, servers, server={"url": "wss://g.invalid/v1/tunnel", "token": "canary-three"})
    done = bridge("diag", "-")
    assert done.returncode == 0 and "canary" not in done.stdout
    assert '"OTHER": "***"' in done.stdout and "FAILED: gone" in done.stdout and "mcp==" in done.stdout
    assert json.loads(bridge("diag", "--json").stdout)["settings"]["server"]["url"] == "wss://g.invalid/v1/tunnel"
    target = config.parent / "told.txt"
    assert bridge("diag", str(target)).returncode == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert bridge("diag", str(target)).returncode == 1, "never over another file"
    config.write_text("nonsense: 1\n")
    assert "unknown key" in bridge("diag", "-").stdout


@pytest.mark.parametrize(
    ("typed", "taken"),
    [("2\r", ["two"]), ("one, 3\r", ["one", "three"]), ("all\r", ["one", "two", "three"]), ("\r", []), ("4\r", None)],
)
def test_only_what_is_ticked_is_shared(config: Path, typed: str, taken: list[str] | None) -> None:
    source = config.parent / "mcp.json"
    servers = {name: {"command": "program-" + name, "args": ["--x"]} for name in ("one", "two", "three")}
    source.write_text(json.dumps({"mcpServers": servers}))
    config.unlink()
    arguments = [sys.executable, "-m", "bridge", "import", "--from", str(source)]
    with PseudoTerminal(arguments, environ={"AI_BRIDGE_CONFIG": str(config)}) as person:
        person.expect(r"\[ \] 3  three .* program-three --x")
        person.expect("which of them")
        person.send(typed)
        assert person.wait() == (2 if taken is None else 0)
    written = config.read_text() if config.exists() else ""
    assert [name for name in servers if f"program-{name}" in written] == (taken or [])


# ---------------------------------------------------------------- pairing


@pytest.fixture
async def office() -> AsyncIterator[tuple[str, list[str]]]:
    """A gateway's pairing desk: pending twice, then confirmed, then gone."""
    answers = ["pending", "pending", "confirmed"]
    heard: list[str] = []

    async def ask(request: web.Request) -> web.Response:
        heard.append((await request.json())["name"])
        return web.json_response({"pair_id": "p1", "code": "ABCD-EFGH", "expires_at": "2030-01-01T00:00:00Z"})

    async def poll(request: web.Request) -> web.Response:
        if not answers:
            return web.Response(status=410)
        status = answers.pop(0)
        token = {"token": "paired-token"} if status == "confirmed" else {}
        return web.json_response({"status": status, **token})

    app = web.Application()
    app.add_routes([web.post("/api/v1/bridge/pair", ask), web.get("/api/v1/bridge/pair/p1", poll)])
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}/v1/tunnel", heard
    await runner.cleanup()


async def test_pairing(bridge: Run, config: Path, office: tuple[str, list[str]]) -> None:
    url, heard = office
    done = await asyncio.to_thread(bridge, "connect", url, "--pair", "--name", "desk", "--save-only")
    assert done.returncode == 0, done.stderr
    assert heard == ["desk"]
    assert "code: ABCD-EFGH" in done.stdout
    assert "paired-token" in (config.parent / "secrets.yaml").read_text()
    again = await asyncio.to_thread(bridge, "connect", url, "--pair", "--save-only")
    assert again.returncode == 2
    assert "spent" in again.stderr


@pytest.mark.parametrize(
    ("encoding", "given", "shown"),
    [("utf-8", [], "█"), ("ascii", [], "\x1b[107m"), ("utf-8", ["--no-qr"], "")],
    ids=["utf-8", "another console", "not wanted"],
)
async def test_a_qr_code_at_a_terminal(
    config: Path, office: tuple[str, list[str]], encoding: str, given: list[str], shown: str
) -> None:
    arguments = [sys.executable, "-m", "bridge", "connect", office[0], "--pair", "--save-only", *given]
    environ = {"AI_BRIDGE_CONFIG": str(config), "PYTHONIOENCODING": encoding}
    with PseudoTerminal(arguments, environ=environ, columns=200, rows=60) as person:
        await asyncio.to_thread(person.expect, "confirmed")
        assert await asyncio.to_thread(person.wait) == 0
    assert "code: ABCD-EFGH" in person.text and "paired-token" not in person.raw
    assert [mark for mark in ("█", "\x1b[107m") if mark in person.raw] == [shown] * bool(shown)
    assert (config.parent / "secrets.yaml").stat().st_mode & 0o777 == 0o600


def test_small_things_of_pairing() -> None:
    assert http_base("wss://g.example/v1/tunnel") == "https://g.example"
    assert http_base("ws://127.0.0.1:8080/tunnel") == "http://127.0.0.1:8080"
    assert http_base("wss://g.example/base/v1/tunnel") == "https://g.example/base"
    lines = list(qr_lines("https://g.example"))
    assert len({len(line) for line in lines}) == 1
    plain = list(qr_lines_of_colours("https://g.example"))
    assert len(plain) == len(plain[0].split("\x1b")) - 2
    assert all(line.isascii() for line in plain)

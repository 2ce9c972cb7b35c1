"""Administration: the same commands with the gateway running and stopped."""

import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from bridge.audit import AuditLog, audit_files
from gateway.cli.running import http
from tests.gateway.cli.conftest import Run, Served

Ask = Callable[..., Any]


@pytest.fixture(params=["running", "stopped"])
def ask(request: pytest.FixtureRequest, gateway: Run) -> Ask:
    """Run a command with `--json` on a running or a stopped gateway; its result."""
    if request.param == "running":
        request.getfixturevalue("served")

    def run(*arguments: str) -> Any:
        done = gateway(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def test_tokens(ask: Ask, gateway: Run):
    made = ask("token", "create", "--user", "alice", "--role", "user", "--scope", "chat", "--ttl", "30d", "--name", "x")
    assert {"id", "token", "user", "role"} <= set(made) and (made["user"], made["role"]) == ("alice", "user")
    rows = {row["id"]: row for row in ask("token", "list")["tokens"]}
    assert rows[made["id"]]["scopes"] == ["chat"] and made["token"] not in json.dumps(rows)
    changed = ask("token", "rotate", made["id"], "--grace", "0s")
    assert changed["id"] == made["id"] and changed["token"] != made["token"]
    ask("token", "revoke", made["id"])
    assert made["id"] not in {row["id"] for row in ask("token", "list")["tokens"]}
    done = gateway("token", "revoke", made["id"])
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert gateway("token", "create", "--user", "a b", "--role", "user").returncode == 2
    assert gateway("token", "create", "--user", "a", "--role", "user", "--ttl", "soon").returncode == 2


def test_scopes_in_every_way_people_write_them(gateway: Run):
    made = ["--user", "a", "--role", "user", "--json"]
    for words in (["--scope", "chat", "--scope", "tools"], ["--scope", "chat,tools"], ["--scope", "chat", "tools"]):
        done = gateway("token", "create", *made, *words)
        token_id = json.loads(done.stdout)["id"]
        rows = json.loads(gateway("token", "list", "--json").stdout)["tokens"]
        assert {row["id"]: row["scopes"] for row in rows}[token_id] == ["chat", "tools"], (words, done.stderr)
    assert gateway("token", "create", *made, "chat").returncode == 2
    assert gateway("token", "create", *made, "--scope", "chat", "all").returncode == 2


def test_a_command_while_the_gateway_starts_waits_for_it(gateway: Run, home: Path, tmp_path: Path):
    program = [sys.executable, "-m", "gateway", "run", "--port", "0"]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, cwd=tmp_path) as starting:
        try:
            until = time.monotonic() + 20
            while not (home / "sessions" / "owner.pid").exists() and time.monotonic() < until:
                time.sleep(0.002)
            done = gateway("user", "list", "--json")
            assert done.returncode == 0, done.stderr
        finally:
            starting.terminate()
    assert starting.returncode == 0


def test_people(ask: Ask, gateway: Run):
    ask("user", "add", "ann")
    assert gateway("user", "add", "ann").returncode == 1
    assert "ann" in {row["user"] for row in ask("user", "list")["users"]}
    invited = ask("user", "invite", "ann")
    assert "#login=" in invited["url"]
    ask("user", "remove", "ann")
    assert "ann" not in {row["user"] for row in ask("user", "list")["users"]}
    assert gateway("user", "remove", "ann").returncode == 1


PROXIED = {
    "GATEWAY__SERVER__TLS_TERMINATED_BY_PROXY": "true", "GATEWAY__SERVER__TRUSTED_PROXIES": '["127.0.0.1"]',
    "GATEWAY__SERVER__ALLOWED_ORIGINS": '["https://chat.example"]',
}  # fmt: skip


def test_an_invitation_leads_to_where_people_find_the_gateway(gateway: Run, home: Path, tmp_path: Path):
    """As deploy/compose.yaml has it: the person who is invited sits elsewhere."""
    assert gateway("user", "invite", "ann", **PROXIED).stdout.startswith("https://chat.example/#login=")
    running = Served(home, tmp_path, **PROXIED)
    try:
        assert gateway("user", "invite", "ann", **PROXIED).stdout.startswith("https://chat.example/#login=")
        assert gateway("user", "invite", "ann").stdout.startswith("https://chat.example/#login=")
    finally:
        assert running.stop() == 0
    other = gateway("user", "invite", "ann", GATEWAY__SERVER__PORT="9000").stdout
    assert other.startswith("http://127.0.0.1:9000/#login="), "the configured port, not the default one"


def test_lists_that_are_empty_and_codes_that_are_wrong(ask: Ask, gateway: Run):
    assert ask("pair", "list") == {"pending": []}
    assert ask("delivery", "list") == {"deliveries": []}
    for arguments in (("pair", "approve", "AAAA-BBBB"), ("pair", "deny", "AAAA-BBBB"), ("delivery", "resend", "none"),
                      ("session", "delete", "none"), ("session", "show", "none")):  # fmt: skip
        done = gateway(*arguments)
        assert done.returncode == 1, (arguments, done)
        assert len(done.stderr.splitlines()) == 1


def test_sessions(ask: Ask, gateway: Run):
    assert gateway("chat", "--session", "mine", "hello there").returncode == 0
    [row] = ask("session", "list")["sessions"]
    assert (row["session_key"], row["message_count"]) == ("mine", 2)
    assert [message["role"] for message in ask("session", "show", "mine")["messages"]] == ["user", "assistant"]
    lines = [json.loads(line) for line in gateway("session", "export", "mine").stdout.splitlines()]
    assert lines[0]["session_key"] == "mine" and all("seq" in line for line in lines[1:])
    assert "hello there" in gateway("session", "show", "mine").stdout
    ask("session", "delete", "mine")
    assert ask("session", "list")["sessions"] == []


def test_the_audit_log_names_who_did_what(ask: Ask, gateway: Run, home: Path):
    ask("token", "create", "--user", "alice", "--role", "user")
    assert "token.create" in [record["event"] for record in ask("audit", "tail")["records"]]
    assert ask("audit", "verify")["ok"]
    path = home / "audit.jsonl"
    path.write_bytes(path.read_bytes().replace(b"alice", b"mallo"))
    done = gateway("audit", "verify")
    assert done.returncode == 1 and f"{path}:" in done.stderr


def test_a_full_audit_log_is_divided_and_read_as_one(gateway: Run, home: Path, tmp_path: Path):
    path = home / "audit.jsonl"
    log = AuditLog(path, fsync=False)
    log.append_many([("old", {"text": "x" * 500_000}) for _ in range(21)])
    log.append_many([("new", {"text": "x" * 500_000}) for _ in range(19)])
    log.append("last")
    log.append("new", text="x" * 600_000)
    log.close()
    assert len(audit_files(path)) == 2
    environ = {"GATEWAY__LOGGING__AUDIT_FILES": "1"}
    done = gateway("token", "create", "--user", "alice", "--role", "user", **environ)
    assert done.returncode == 0, done.stderr
    files = audit_files(path)
    assert len(files) == 2 and path.stat().st_size < 10_000, files
    told = json.loads(gateway("audit", "tail", "--limit", "100", "--json").stdout)["records"]
    assert [record["event"] for record in told if record["event"] != "new"][:3] == [
        "audit.rotated", "last", "audit.rotated",
    ]  # fmt: skip
    assert told[-1]["event"] == "token.create"
    assert gateway("audit", "verify").returncode == 0
    assert gateway("backup", str(tmp_path / "b.tgz")).returncode == 0
    files[0].unlink()
    done = gateway("audit", "verify")
    assert done.returncode == 1 and f"{path}:1:" in done.stderr
    assert gateway("restore", str(tmp_path / "b.tgz")).returncode == 0
    assert gateway("audit", "verify").returncode == 0 and audit_files(path) == files


@pytest.mark.quiet
def test_a_revoked_token_closes_its_socket_within_a_second(gateway: Run, served: Served):
    made = json.loads(gateway("token", "create", "--user", "alice", "--role", "user", "--json").stdout)
    address = "ws" + served.url.removeprefix("http") + "/ws"
    with connect(address, additional_headers={"Authorization": f"Bearer {made['token']}"}) as socket:
        assert gateway("token", "revoke", made["id"]).returncode == 0
        started = time.monotonic()
        with pytest.raises(ConnectionClosed) as caught:
            socket.recv(timeout=5)
        assert time.monotonic() - started < 1 and caught.value.rcvd and caught.value.rcvd.code == 4501


def test_what_is_printed_when_ready(served: Served):
    text = "\n".join(served.lines)
    assert "ready in" in text and f"{served.url}/#login=" in text
    assert f"ws{served.url.removeprefix('http')}/ws" in text and "/tunnel" in text
    assert str(served.home / "admin.token") in text
    assert all(f"\n{name}" in text for name in ("telegram", "discord", "feishu"))
    assert stat.S_IMODE((served.home / "admin.token").stat().st_mode) == 0o600


@pytest.mark.attack(83)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_clean_stop_is_exit_zero_and_leaves_no_trace(served: Served, number: int):
    assert served.stop(number) == 0
    assert not (served.home / "gateway.json").exists()


def test_status_of_a_running_gateway(gateway: Run, served: Served):
    state = json.loads(gateway("status", "--json").stdout)
    assert state["running"] and state["url"] == served.url and state["channels"]["telegram"]["state"] == "off"
    text = gateway("status")
    assert text.returncode == 0 and served.url in text.stdout and "demo" in text.stdout


@pytest.mark.attack(73)
def test_a_second_gateway_on_the_same_folder_is_refused_with_the_pid_of_the_first(gateway: Run, served: Served):
    done = gateway("run", "--port", "0")
    assert done.returncode == 1 and str(served.process.pid) in done.stderr


def test_a_backup_made_while_serving_comes_back(gateway: Run, served: Served, tmp_path: Path):
    assert gateway("chat", "--session", "kept", "first words").returncode == 0
    file = tmp_path / "b.tgz"
    assert gateway("backup", str(file)).returncode == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert gateway("backup", str(file)).returncode == 1, "never over another file"
    assert gateway("chat", "--session", "kept", "later words").returncode == 0
    assert gateway("restore", str(file)).returncode == 1, "not under a running gateway"
    token = served.token
    assert served.stop() == 0
    done = gateway("restore", str(file))
    assert done.returncode == 0 and "before" in done.stdout
    shown = gateway("session", "show", "kept").stdout
    assert "first words" in shown and "later words" not in shown
    assert served.token == token and gateway("audit", "verify").returncode == 0
    assert not list(served.home.glob("backup-*"))


@pytest.fixture
def restoring(home: Path, tmp_path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Begin a restore that stands still in the middle of unpacking; it goes on by SIGCONT."""
    file = tmp_path / "b.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for name, data in [("busgate-backup.json", b'{"format": 1}')] + [(f"users/u{n}/x", b"x") for n in range(3000)]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    begun: list[subprocess.Popen[str]] = []

    def begin() -> subprocess.Popen[str]:
        environ = {**os.environ, "GATEWAY_HOME": str(home), "HOME": str(tmp_path)}
        process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "restore", str(file)], env=environ, cwd=tmp_path, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        begun.append(process)
        while not list(tmp_path.glob("**/*restoring-*/users")):
            assert process.poll() is None
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


def test_no_gateway_starts_on_a_folder_that_is_being_restored(
    gateway: Run, home: Path, restoring: Callable[[], subprocess.Popen[str]]
):
    assert gateway("user", "add", "ann").returncode == 0
    process = restoring()
    done = gateway("run", "--port", "0")
    assert done.returncode == 1 and str(process.pid) in done.stderr
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "before" in out
    assert len(list((home / "users").iterdir())) == 3000
    assert gateway("user", "list").returncode == 0, "and then it starts again"


def test_a_gateway_that_began_a_new_folder_meanwhile_is_not_overwritten(
    home: Path, tmp_path: Path, restoring: Callable[[], subprocess.Popen[str]]
):
    process = restoring()
    served = Served(home, tmp_path)
    process.send_signal(signal.SIGCONT)
    _, told = process.communicate(timeout=60)
    assert served.stop() == 0
    assert process.returncode == 1 and str(served.process.pid) in told
    assert not (home / "users").exists() and not list(tmp_path.glob("**/*restoring-*"))


@pytest.mark.attack(33)
@pytest.mark.parametrize("name", ["../evil", "/tmp/evil", "a/../../evil", "sessions/..\\evil"])
def test_a_hostile_backup_writes_nowhere(gateway: Run, tmp_path: Path, home: Path, name: str):
    file = tmp_path / "b.tgz"
    with tarfile.open(file, "w:gz") as archive:
        for member, data in (("busgate-backup.json", b'{"format": 1}'), (name, b"x")):
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    before = sorted(os.listdir(tmp_path))
    done = gateway("restore", str(file))
    assert done.returncode == 1 and "outside" in done.stderr
    assert sorted(os.listdir(tmp_path)) == before and not home.exists()


@pytest.mark.parametrize("content", [b"", b"not a backup", b"\x1f\x8b\x08\x00broken"])
def test_a_file_that_is_no_backup_changes_nothing(gateway: Run, tmp_path: Path, home: Path, content: bytes):
    (tmp_path / "b.tgz").write_bytes(content)
    done = gateway("restore", str(tmp_path / "b.tgz"))
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1 and not home.exists()


@pytest.mark.parametrize("manifest", [b"[]", b'{"format": "new"}', b'{"format": 99}'])
def test_a_backup_of_something_else_changes_nothing(gateway: Run, tmp_path: Path, home: Path, manifest: bytes):
    with tarfile.open(tmp_path / "b.tgz", "w:gz") as archive:
        info = tarfile.TarInfo("busgate-backup.json")
        info.size = len(manifest)
        archive.addfile(info, io.BytesIO(manifest))
    done = gateway("restore", str(tmp_path / "b.tgz"))
    assert done.returncode == 1 and "backup" in done.stderr and "Error" not in done.stderr and not home.exists()


def test_a_dead_gateway_file_is_no_running_gateway(gateway: Run, home: Path):
    home.mkdir(mode=0o700)
    (home / "gateway.json").write_text(json.dumps({"pid": 2**22 + 5, "url": "http://127.0.0.1:9"}))
    assert json.loads(gateway("token", "list", "--json").stdout)["tokens"] == []


@pytest.mark.attack(84)
def test_no_secret_is_in_the_log_files(gateway: Run, home: Path, tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text("auth: {tokens: [{user: a, role: user, token: canary-static-token-1}]}\nlogging: {level: debug}\n")
    running = Served(home, tmp_path, "--config", str(path))
    made = json.loads(gateway("token", "create", "--user", "x", "--role", "user", "--json").stdout)
    for token in (made["token"], "canary-static-token-1", "canary-wrong-token-2"):
        http(
            running.url + "/api/v1/rpc?token=" + token,
            body={"jsonrpc": "2.0", "id": 1, "method": "health"},
            token=token,
        )
    gateway("chat", "hello")
    running.stop()
    logs = "".join(file.read_text() for file in (home / "logs").iterdir())
    everything = logs + "\n".join(running.lines[9:])
    secret = made["token"].split(".")[1]
    for canary in ("canary-static-token-1", "canary-wrong-token-2", secret, running.token.split(".")[1]):
        assert canary not in everything


@pytest.mark.attack(82)
def test_a_configuration_broken_while_serving_changes_nothing(gateway: Run, home: Path, tmp_path: Path):
    """The configuration is read at the start only: nobody can reload it, by whatever door."""
    path = tmp_path / "c.yaml"
    path.write_text("auth: {tokens: [{user: ann, role: user, token: a-long-enough-token}]}\n")
    running = Served(home, tmp_path, "--config", str(path))
    try:
        path.write_text("auth: [broken\n")
        assert gateway("config", "check", str(path)).returncode == 2
        for _ in range(3):
            address = "ws" + running.url.removeprefix("http") + "/ws"
            assert gateway("chat", "--url", address, "hello", GATEWAY_TOKEN="a-long-enough-token").returncode == 0
        for method in ("config.reload", "config.set", "settings.update"):
            body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {}}
            _, answer = http(running.url + "/api/v1/rpc", body=body, token="a-long-enough-token")
            assert answer["error"]["code"] == -32601
        assert http(running.url + "/config", body={"server": {}}, token=running.token)[0] in (404, 405)
    finally:
        assert running.stop() == 0


def test_a_gateway_with_tls_is_administered_with_its_own_certificate(gateway: Run, home: Path, tmp_path: Path):
    authority = trustme.CA()
    issued = authority.issue_cert("gateway.example")
    (tmp_path / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    path = tmp_path / "c.yaml"
    path.write_text(f"server: {{host: 0.0.0.0, tls: {{cert: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}}}\n")
    running = Served(home, tmp_path, "--config", str(path))
    try:
        assert running.url.startswith("https://") and any("wss://" in line for line in running.lines)
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert gateway("status", "--config", str(path)).returncode == 0
        assert gateway("user", "list", "--config", str(path)).returncode == 0
        assert "Hello" in gateway("chat", "hello", "--config", str(path)).stdout
        stranger = gateway("user", "list")
        assert stranger.returncode == 1 and "--config" in stranger.stderr, "no token for who can't prove himself"
    finally:
        assert running.stop() == 0

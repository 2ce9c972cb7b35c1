"""The doctor: what stands how, and the next command."""

import json
import os
import socket
import stat
from pathlib import Path
from typing import Any

import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from bridge.audit import AuditLog
from tests.fakes.lying_endpoint import lying_endpoint
from tests.gateway.cli.conftest import Run


def checks(gateway: Run, *arguments: str, **environ: str) -> tuple[int, dict[str, dict[str, Any]]]:
    done = gateway("doctor", "--json", *arguments, **environ)
    found = json.loads(done.stdout)
    assert found["ok"] == (done.returncode == 0)
    return done.returncode, {row["name"]: row for row in found["checks"]}


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def test_a_fresh_machine_is_well(gateway: Run):
    code, found = checks(gateway, GATEWAY__SERVER__PORT=free_port())
    assert code == 0
    assert found["gateway"]["state"] == found["audit log"]["state"] == found["python"]["state"] == "ok"
    assert found["model"]["state"] == "warning" and "gateway init" in found["model"]["next"]


def test_every_failure_names_its_next_step(gateway: Run, home: Path, tmp_path: Path):
    home.mkdir(mode=0o755)
    (home / "admin.token").write_text("x")
    (home / "admin.token").chmod(0o644)
    log = AuditLog(home / "audit.jsonl", fsync=False)
    log.append("a")
    log.append("b")
    log.close()
    (home / "audit.jsonl").write_bytes((home / "audit.jsonl").read_bytes().replace(b'"a"', b'"x"'))
    path = tmp_path / "c.yaml"
    with lying_endpoint() as endpoint, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint.answers["/v1/models"] = (401, {})
        path.write_text(
            f"server: {{port: {taken.getsockname()[1]}}}\n"
            f"models: [{{name: m, base_url: '{endpoint.url}/v1', api_key: sk-canary, model: x}}]\n"
            f"channels: {{telegram: {{enabled: true, token: '1:sk-canary', base_url: '{endpoint.url}'}}}}\n"
            "mcp_servers: [{name: s, command: no-such-program-anywhere}]\n"
        )
        done = gateway("doctor", "--json", "--config", str(path))
    assert "canary" not in done.stdout + done.stderr
    rows = json.loads(done.stdout)["checks"]
    bad = {row["name"]: row for row in rows if row["state"] == "failed"}
    assert {"permissions", "port", "audit log", "model m", "telegram", "mcp server s"} <= set(bad)
    assert all(row["next"] for row in bad.values())
    assert "api_key" in bad["model m"]["next"]


def test_fix_mends_what_can_be_mended(gateway: Run, home: Path):
    home.mkdir(mode=0o755)
    (home / "admin.token").write_text("x")
    (home / "admin.token").chmod(0o644)
    (home / "gateway.json").write_text(json.dumps({"pid": 2**22 + 1, "url": "http://127.0.0.1:1"}))
    port = free_port()
    assert checks(gateway, GATEWAY__SERVER__PORT=port)[0] == 1
    code, _ = checks(gateway, "--fix", GATEWAY__SERVER__PORT=port)
    assert code == 0
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "admin.token").stat().st_mode) == 0o600
    assert not (home / "gateway.json").exists()


def test_a_secret_in_a_file_for_everybody_is_found(gateway: Run, tmp_path: Path):
    config = tmp_path / "c.yaml"
    config.write_text("channels: {telegram: {enabled: false, token: '1:canary-canary'}}\n")
    config.chmod(0o644)
    said = gateway("doctor", "--config", str(config)).stdout
    assert f"others can read {config}" in said and f"chmod 600 {config}" in said and "canary" not in said
    gateway("doctor", "--fix", "--config", str(config))
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "others can read" not in gateway("doctor", "--config", str(config)).stdout
    config.write_text("channels: {telegram: {enabled: true, token: '${TELEGRAM_BOT_TOKEN}', dm_policy: 'off'}}\n")
    config.chmod(0o644)
    refers = gateway("config", "check", "--config", str(config), TELEGRAM_BOT_TOKEN="1:canary-canary")
    assert refers.returncode == 0
    free = {"TELEGRAM_BOT_TOKEN": "1:canary-canary", "GATEWAY__CHANNELS__TELEGRAM__BASE_URL": "http://127.0.0.1:9"}
    assert "others can read" not in gateway("doctor", "--config", str(config), **free).stdout


def test_a_mistake_beside_a_secret_is_told_whole(gateway: Run, tmp_path: Path):
    """`api_key: unknown key` looks like a secret and is a sentence."""
    config = tmp_path / "c.yaml"
    config.write_text("models:\n  - {name: a, model: b, api_key: '${secret:NOPE}', base_key: 1}\n")
    said = gateway("doctor", "--config", str(config)).stdout
    assert "***" not in said and "models[0].api_key: secrets.yaml: no such file" in said, said


def test_a_configuration_that_does_not_load_is_the_finding(gateway: Run):
    code, found = checks(gateway, GATEWAY__SERVER__PROT="1")
    assert code == 1 and "did you mean 'port'" in found["configuration"]["message"]


def test_a_process_that_does_not_answer_is_found(gateway: Run, home: Path):
    home.mkdir(mode=0o700)
    (home / "gateway.json").write_text(json.dumps({"pid": os.getpid(), "url": "http://127.0.0.1:9"}))
    code, found = checks(gateway)
    assert code == 1 and found["gateway"]["next"] == f"kill {os.getpid()}"


def test_a_working_model_and_bot(gateway: Run, tmp_path: Path):
    path = tmp_path / "c.yaml"
    with lying_endpoint() as endpoint:
        endpoint.answers["/v1/models"] = (200, {"data": [{"id": "x"}]})
        endpoint.answers["/bot1:a/getMe"] = (200, {"ok": True, "result": {"username": "my_bot"}})
        endpoint.answers["/api/v10/users/@me"] = (200, {"username": "my_discord"})
        endpoint.answers["/open-apis/auth/v3/tenant_access_token/internal"] = (200, {"tenant_access_token": "t"})
        endpoint.answers["/open-apis/bot/v3/info"] = (200, {"bot": {"app_name": "my app"}})
        path.write_text(
            f"server: {{port: {free_port()}}}\n"
            f"models: [{{name: m, base_url: '{endpoint.url}/v1', model: x}}]\n"
            "channels:\n"
            f"  telegram: {{enabled: true, token: '1:a', base_url: '{endpoint.url}'}}\n"
            f"  discord: {{enabled: true, token: d, api_url: '{endpoint.url}/api/v10'}}\n"
            f"  feishu: {{enabled: true, app_id: a, app_secret: s, domain: '{endpoint.url}'}}\n"
        )
        code, found = checks(gateway, "--config", str(path))
    assert code == 0, found
    assert found["telegram"]["message"] == "@my_bot" and found["discord"]["message"] == "my_discord"
    assert found["feishu"]["message"] == "my app" and found["model m"]["state"] == "ok"


def test_what_is_written_for_a_helper_holds_no_secret(gateway: Run, home: Path, tmp_path: Path):
    path = tmp_path / "c.yaml"
    path.write_text(
        "auth: {tokens: [{user: a, token: sk-canary-canary-1}]}\n"
        "models: [{name: m, base_url: 'http://127.0.0.1:9/v1', model: x, api_key: canary-key-2}]\n"
    )
    (home / "logs").mkdir(parents=True)
    (home / "logs" / "gateway.log").write_text('{"event":"asked with canary-key-2 and \x1b[2J"}\n')
    target = tmp_path / "diag.txt"
    assert gateway("diag", str(target), "--config", str(path)).returncode == 0
    text = target.read_text()
    assert "canary" not in text and "\x1b" not in text
    assert "failed: model m" in text and "pydantic==" in text and "asked with ***" in text
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert gateway("diag", str(target)).returncode == 1, "never over another file"
    broken = gateway("diag", "-", GATEWAY__SERVER__PROT="1")
    assert broken.returncode == 0 and "did you mean" in broken.stdout


def test_a_certificate_that_cannot_be_used_is_named(gateway: Run, tmp_path: Path):
    """And nobody is asked for the password of a key: the gateway may have no terminal, and would wait for ever."""
    authority = trustme.CA()
    one, other = authority.issue_cert("localhost"), authority.issue_cert("localhost")
    key = load_pem_private_key(one.private_key_pem.bytes(), None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))
    cert, private = tmp_path / "cert.pem", tmp_path / "key.pem"
    settings = {"GATEWAY__SERVER__TLS__CERT": "~/cert.pem", "GATEWAY__SERVER__TLS__KEY": "~/key.pem"}
    cert.write_bytes(one.cert_chain_pems[0].bytes())
    for content in (b"no key", other.private_key_pem.bytes(), locked):
        private.write_bytes(content)
        done = gateway("run", "--port", "0", **settings)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert f"server.tls: {cert} and {private}" in done.stderr and "_ssl" not in done.stderr
        code, found = checks(gateway, GATEWAY__SERVER__PORT=free_port(), **settings)
        assert code == 1 and str(private) in found["certificate"]["message"]
    private.write_bytes(one.private_key_pem.bytes())
    code, found = checks(gateway, GATEWAY__SERVER__PORT=free_port(), **settings)
    assert code == 0 and found["certificate"]["state"] == "ok", "~ is the home folder"

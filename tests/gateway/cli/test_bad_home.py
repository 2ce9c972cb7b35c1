"""A state folder that cannot be used, and one that something happened to: said in a line, and found by the doctor."""

import json
import os
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Run, Served
from tests.gateway.cli.test_doctor import checks, free_port


def test_a_folder_that_may_not_be_looked_at(gateway: Run, tmp_path: Path) -> None:
    """As one that belongs to somebody else: the system's word, not the stack's. (A name too long stops root, too.)"""
    home = str(tmp_path / ("x" * 300))
    for command in (("status",), ("session", "list"), ("chat", "hi"), ("run",), ("config", "show")):
        done = gateway(*command, GATEWAY_HOME=home)
        assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
        assert done.stderr.startswith(home) and "too long" in done.stderr
    code, found = checks(gateway, GATEWAY_HOME=home)
    assert code == 1 and found["state folder"]["state"] == "failed" and found["state folder"]["next"]


@pytest.mark.parametrize("below", ["", "gateway"])
def test_a_folder_that_is_a_file(gateway: Run, tmp_path: Path, below: str) -> None:
    file = tmp_path / "notes"
    file.write_text("mine")
    file.chmod(0o644)
    home = str(file / below) if below else str(file)
    code, found = checks(gateway, "--fix", GATEWAY_HOME=home, GATEWAY__SERVER__PORT=free_port())
    assert code == 1 and found["state folder"]["state"] == "failed" and found["state folder"]["next"]
    assert file.stat().st_mode & 0o777 == 0o644, "a file of somebody's is no state folder to be mended"
    for command in (("session", "list"), ("chat", "hi"), ("backup", str(tmp_path / "b"))):
        done = gateway(*command, GATEWAY_HOME=home)
        assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
        assert "Errno" not in done.stderr and home in done.stderr


def test_what_keeps_it_from_starting_is_found(gateway: Run, home: Path) -> None:
    assert gateway("user", "add", "ann").returncode == 0
    (home / "identity" / "users.json").write_text("{")
    assert gateway("run", "--port", "0").returncode == 1
    code, found = checks(gateway, GATEWAY__SERVER__PORT=free_port())
    assert code == 1 and "users.json" in found["people"]["message"] and "restore" in found["people"]["next"]


@pytest.mark.parametrize("name", ["accounts.db", "approvals.db", "bridges.db"])
def test_a_damaged_database_is_named_and_found(gateway: Run, home: Path, name: str) -> None:
    assert gateway("user", "add", "ann").returncode == 0
    whole = home / name
    for damage in (b"no database " * 400, whole.read_bytes()[:100] + b"x" * 8000):
        whole.write_bytes(damage)
        for command in (("run", "--port", "0"), ("user", "list")):
            done = gateway(*command)
            assert done.returncode == 1 and str(whole) in done.stderr, done.stderr
            assert "restore it from a backup" in done.stderr and len(done.stderr.splitlines()) == 1
        code, found = checks(gateway, GATEWAY__SERVER__PORT=free_port())
        assert code == 1 and name in found["database"]["message"] and "restore" in found["database"]["next"]
    whole.replace(whole.with_name(name + ".bad"))
    assert gateway("user", "list").returncode == 0


def test_an_admin_token_that_the_running_gateway_does_not_know(gateway: Run, served: Served) -> None:
    """`status` sends people to the doctor, who said that all is well."""
    assert "admin token" not in checks(gateway)[1]
    (served.home / "admin.token").write_text("another\n")
    assert gateway("status").returncode == 1
    code, found = checks(gateway)
    assert code == 1 and found["admin token"]["state"] == "failed" and "again" in found["admin token"]["next"]
    (served.home / "admin.token").unlink()
    assert checks(gateway)[1]["admin token"]["state"] == "failed"
    assert served.stop() == 0
    again = Served(served.home, served.home.parent)  # what the doctor says helps
    try:
        assert checks(gateway)[0] == 0
    finally:
        again.stop()


def test_a_gateway_that_hangs_is_not_said_to_be_none(gateway: Run, served: Served) -> None:
    pid = json.loads((served.home / "gateway.json").read_text())["pid"]
    os.kill(pid, signal.SIGSTOP)
    try:
        done = gateway("status")
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.returncode == 1 and f"pid {pid}" in done.stderr and "does not answer" in done.stderr


def test_a_restore_where_the_folder_itself_has_to_stay(gateway: Run, home: Path, tmp_path: Path) -> None:
    """A container's volume cannot change its place: 'Device or resource busy'. A link to another disk is the same."""
    disk = tmp_path / "disk"
    disk.mkdir(mode=0o700)
    home.parent.mkdir(exist_ok=True)
    home.symlink_to(disk)
    assert gateway("user", "add", "ann").returncode == 0
    kept = home / "backup-1.tgz"
    assert gateway("backup", str(kept)).returncode == 0
    assert gateway("user", "add", "bob").returncode == 0
    done = gateway("restore", str(kept), "--json")
    assert done.returncode == 0, done.stderr
    assert home.is_symlink() and kept.exists() and (disk / "identity" / "users.json").is_file()
    former = Path(json.loads(done.stdout)["former"])
    assert former.parent == home and "bob" in (former / "identity" / "users.json").read_text()
    assert [row["user"] for row in json.loads(gateway("user", "list", "--json").stdout)["users"]] == ["ann"]
    second = tmp_path / "second.tgz"
    assert gateway("backup", str(second)).returncode == 0
    with tarfile.open(second) as archive:
        assert not [name for name in archive.getnames() if name.startswith(("before-", "backup-", "."))]


def test_an_answer_that_the_disk_does_not_take(home: Path, tmp_path: Path) -> None:
    assert Path("/dev/full").is_char_device(), "Linux has it"
    for command in (["chat", "hello"], ["chat", "--json", "hello"], ["session", "list"]):
        with open("/dev/full", "w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "gateway", *command], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60,
                env={**os.environ, "GATEWAY_HOME": str(home), "HOME": str(tmp_path)}, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        assert done.returncode == 1 and done.stderr == "gateway: No space left on device\n"


@pytest.mark.parametrize(("closed", "code"), [("<&-", 2), (">&-", 0)])
def test_a_stream_that_is_closed(home: Path, tmp_path: Path, closed: str, code: int) -> None:
    text = "" if closed == "<&-" else "hello"
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m gateway chat {text} {closed}"], stderr=subprocess.PIPE, text=True,
        timeout=60, env={**os.environ, "GATEWAY_HOME": str(home), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == code and done.stderr == ("there is nothing to say\n" if code else "")

"""`gateway service`, `completion`, `diag --json` and `status`: what they show."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.gateway.cli.conftest import Run, Served


@pytest.mark.parametrize("given", [[], ["--json"]])
def test_the_gateway_shows_its_service_before_installing(gateway: Run, tmp_path: Path, given: list[str]) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("limits: {drain_seconds: 7}\n")
    done = gateway("service", "install", "--dry-run", "--config", str(config), *given)
    assert done.returncode == 0, done.stderr
    assert str(config) in done.stdout and "TimeoutStopSec=22" in done.stdout and "GATEWAY_HOME=" in done.stdout
    assert not (tmp_path / ".config").exists()
    config.write_text("limits: {drain: 7}\n")
    assert gateway("service", "install", "--dry-run", "--config", str(config)).returncode == 2


@pytest.mark.parametrize(("module", "program"), [("gateway", "gateway"), ("bridge", "ai-bridge")])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "pwsh"])
def test_completion_scripts(module: str, program: str, shell: str) -> None:
    done = subprocess.run([sys.executable, "-m", module, "completion", shell], capture_output=True, text=True)
    assert done.returncode == 0 and program in done.stdout, done.stderr
    found = shutil.which(shell)
    if found:
        assert subprocess.run([found, "-n", "-c", done.stdout], capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("module", "variable", "typed", "offered"),
    [("gateway", "_GATEWAY_COMPLETE", "gateway do", "doctor"),
     ("bridge", "_AI_BRIDGE_COMPLETE", "ai-bridge conn", "connect"),
     ("bridge", "_AI_BRIDGE_COMPLETE", "ai-bridge connect --no", "--no-qr")],
)  # fmt: skip
def test_a_shell_is_offered_commands(module: str, variable: str, typed: str, offered: str) -> None:
    words = {variable: "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(typed.count(" "))}
    done = subprocess.run([sys.executable, "-m", module], capture_output=True, text=True, env={**os.environ, **words})
    assert offered in done.stdout.split(), done


def test_an_unknown_shell_is_refused(gateway: Run) -> None:
    assert gateway("completion", "tcsh").returncode == 2


def test_diag_for_programs(gateway: Run) -> None:
    told = json.loads(gateway("diag", "--json", OPENAI_API_KEY="sk-canary-9").stdout)
    assert {"version", "settings", "findings", "libraries", "log"} <= set(told)
    assert "canary" not in json.dumps(told)
    assert "problems" in json.loads(gateway("diag", "--json", GATEWAY__SERVER__PROT="1").stdout)


def test_status_is_readable(gateway: Run, served: Served) -> None:
    text = gateway("status").stdout
    assert "\ntelegram " in text and "{" not in text and "state: off" not in text
    assert "True" not in text and "False" not in text


def test_commands_answer_in_the_language_of_the_terminal(gateway: Run, served: Served) -> None:
    """What was said is no help: `/status` is the same in every language. What one chose by `/language` counts more."""
    chinese = {"LANG": "zh_CN.UTF-8", "LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}
    english = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
    assert "会话" in gateway("chat", "/status", **chinese).stdout
    assert "Session" in gateway("chat", "/status", **english).stdout
    assert "English" in gateway("chat", "/language en", **chinese).stdout
    assert "Session" in gateway("chat", "/status", **chinese).stdout


@pytest.mark.parametrize("piped", [b"say \xff\xfe this", b"\xef\xbb\xbfhello", "你好".encode("gbk")])
@pytest.mark.parametrize("way", ["stdin", "argument"])
def test_bytes_that_are_no_text_are_said_all_the_same(served: Served, tmp_path: Path, piped: bytes, way: str) -> None:
    program = [sys.executable.encode(), b"-m", b"gateway", b"chat", *([piped] if way == "argument" else [])]
    done = subprocess.run(
        program, input=piped if way == "stdin" else b"", capture_output=True, timeout=30, check=False,
        env={**os.environ, "GATEWAY_HOME": str(served.home), "HOME": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout, done.stderr

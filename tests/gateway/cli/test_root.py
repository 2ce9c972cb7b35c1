"""The table of commands, exit codes, and how quickly help comes."""

import time

import pytest

from gateway.cli.root import COMMANDS
from tests.gateway.cli.conftest import Run


def test_version(gateway: Run):
    done = gateway("--version")
    assert (done.returncode, done.stdout) == (0, "gateway 0.1.0\n")


@pytest.mark.quiet
def test_help_names_every_command_and_comes_quickly(gateway: Run):
    best = 99.0
    for _ in range(3):
        started = time.monotonic()
        done = gateway("--help")
        best = min(best, time.monotonic() - started)
    assert done.returncode == 0
    assert all(f"  {name} " in done.stdout for name in COMMANDS)
    assert best < 0.6, "help is to come at once (it takes 0.15 s on an idle machine)"


@pytest.mark.parametrize("command", list(COMMANDS))
def test_every_command_explains_itself(gateway: Run, command: str):
    done = gateway(command, "--help")
    assert done.returncode == 0, done.stderr
    assert f"gateway {command}" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [("tokn",), ("--port", "x"), ("--nonsense",), ("token", "create"),
     ("token", "create", "--user", "a", "--role", "king"),
     ("token", "create", "--user", "a", "--role", "user", "--scope", "everything"), ("status", "extra"),
     ("--port", "1", "status")],
)  # fmt: skip
def test_wrong_usage_is_exit_two(gateway: Run, arguments: tuple[str, ...]):
    done = gateway(*arguments)
    assert done.returncode == 2, done
    assert done.stderr and "Traceback" not in done.stderr


def test_a_typo_gets_a_suggestion(gateway: Run):
    assert "Did you mean 'token'" in gateway("tokn").stderr


def test_mistakes_in_the_configuration_are_one_line_each(gateway: Run, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("# first\nserver:\n  prot: 1\n  port: x\n")
    for arguments in (("--config", str(path)), ("run", "--config", str(path)), ("config", "check", str(path)),
                      ("status", "--config", str(path))):  # fmt: skip
        done = gateway(*arguments)
        assert done.returncode == 2
        assert done.stderr.splitlines() == [
            f"{path}:3:3 server.prot: unknown key (did you mean 'port'?)",
            f"{path}:4:9 server.port: must be a whole number",
        ]


@pytest.mark.attack(14)
def test_a_public_address_is_exit_three(gateway: Run):
    for arguments, environ in ((("--host", "0.0.0.0"), {}), ((), {"GATEWAY__SERVER__HOST": "0.0.0.0"})):
        done = gateway(*arguments, **environ)
        assert done.returncode == 3
        [line] = done.stderr.splitlines()
        assert "server.host" in line and "server.tls.cert" in line


def test_config_show_masks_secrets(gateway: Run, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "auth: {tokens: [{user: a, token: sk-canary-canary-1}]}\n"
        "sessions: {redis_url: 'redis://me:canary-canary@host'}\n"
        "mcp_servers: [{name: x, command: y, args: ['--token=canary-canary'], env: {A: canary-canary}}]\n"
    )
    for arguments in (
        ("config", "show", str(path)),
        ("config", "show", str(path), "--json"),
        ("--config", str(path), "config", "show"),
    ):
        done = gateway(*arguments, OPENAI_API_KEY="sk-canary-2")
        assert done.returncode == 0, done.stderr
        assert "canary" not in done.stdout and "***" in done.stdout and "gpt-5" in done.stdout


def test_config_check_says_which_file(gateway: Run, tmp_path):
    assert "defaults" in gateway("config", "check").stdout
    path = tmp_path / "c.yaml"
    path.write_text("server: {port: 1}\n")
    assert gateway("config", "check", "--config", str(path)).stdout == f"{path}: ok\n"
    assert gateway("config", "check", GATEWAY_CONFIG=str(path)).stdout == f"{path}: ok\n"


def test_status_without_a_gateway(gateway: Run):
    done = gateway("status")
    assert done.returncode == 1 and "gateway run" in done.stderr
    done = gateway("status", "--json")
    assert done.returncode == 1 and '"running": false' in done.stdout

"""How the two programs are kept running, on systems that are here and on those that are not."""

import plistlib
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.background import Plan, Program, install, own_command, plan, uninstall
from tests.fakes.systemd_units import NotAUnit, commands, environment, read_unit

TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
ENVIRON = {
    "HOME": "/h", "USERPROFILE": "/h", "PATH": "/bin:/a b:/50%/$x", "USERNAME": "ann", "USERDOMAIN": "PC <1>"
}  # fmt: skip
HARD = ['/home/a b/100% "x"/config.yaml', "$HOME\\c", "a & b", "it's"]


def made(system: str, python: str = "/py thon/bin/python") -> Plan:
    program = Program("some-label", "a title", [python, "-m", "x", *HARD], Path("/state"), {"SOME_HOME": "/a b/$c%d"})
    return plan(program, ENVIRON, system)


def test_a_unit_that_systemd_understands() -> None:
    wanted = made("linux")
    [(path, text)] = wanted.files.items()
    assert path == Path("/h/.config/systemd/user/some-label.service")
    assert '"/home/a b/100%% \\"x\\"/config.yaml" "$$HOME\\\\c"' in text
    assert 'Environment="PATH=/bin:/a b:/50%%/$x"' in text
    for line in (
        "NoNewPrivileges=yes",
        "RestrictSUIDSGID=yes",
        "UMask=0077",
        "LimitCORE=0",
        "RestartPreventExitStatus=2 3",
    ):
        assert line in text.splitlines()


@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), max_size=4))
def test_systemd_reads_back_what_was_meant(words: list[str]) -> None:
    command = ["/py thon/bin/python", "-m", "x", *HARD, *words]
    variables = {f"N{number}": word for number, word in enumerate(words)}
    [text] = plan(Program("l", "t", command, Path("/s"), variables), ENVIRON, "linux").files.values()
    unit = read_unit(text)
    assert commands(unit["Service"]["ExecStart"]) == [command]
    assert environment(unit["Service"]["Environment"]) == {"PATH": ENVIRON["PATH"], **variables}
    assert unit["Install"] == {"WantedBy": ["default.target"]}


@pytest.mark.parametrize("wrong", [
    "[Service]\nExecStart=x", "[Service]\nRestrart=always", "[Servce]\nUMask=0077", "UMask=0077", "[Service]\nUMask",
    '[Service]\nExecStart="/x', '[Service]\nExecStart="/x"y', "[Service]\nExecStart=/x %q", "[Service]\nRestart=maybe",
])  # fmt: skip
def test_the_reader_of_units_refuses_what_systemd_refuses(wrong: str) -> None:
    with pytest.raises(NotAUnit):
        commands(read_unit(wrong)["Service"]["ExecStart"])


def test_an_agent_that_launchd_understands() -> None:
    [(path, text)] = made("darwin").files.items()
    assert path == Path("/h/Library/LaunchAgents/some-label.plist")
    told = plistlib.loads(text.encode())
    assert told["ProgramArguments"] == ["/py thon/bin/python", "-m", "x", *HARD]
    assert told["EnvironmentVariables"] == {"PATH": ENVIRON["PATH"], "SOME_HOME": "/a b/$c%d"}
    assert told["Umask"] == 0o077 and told["RunAtLoad"] is True


def test_a_task_that_windows_understands() -> None:
    wanted = made("win32", r"C:\Program Files\Python\python.exe")
    [(path, text)] = wanted.files.items()
    root = ElementTree.fromstring(text.encode(wanted.encoding))
    assert root.findtext(f".//{TASK}Command") == r"C:\Program Files\Python\pythonw.exe"
    arguments = root.findtext(f".//{TASK}Arguments") or ""
    assert arguments == subprocess.list2cmdline(["-m", "x", *HARD])
    assert {each.text for each in root.iter(f"{TASK}UserId")} == {"PC <1>\\ann"}
    assert root.findtext(f".//{TASK}ExecutionTimeLimit") == "PT0S"
    assert root.findtext(f".//{TASK}DisallowStartIfOnBatteries") == "false"
    assert wanted.commands[0] == ["schtasks", "/Create", "/F", "/XML", str(path), "/TN", "some-label"]


def test_a_program_of_one_file_starts_itself() -> None:
    assert own_command("bridge", "/usr/bin/ai-bridge", frozen=True) == ["/usr/bin/ai-bridge"]
    assert own_command("bridge", "/usr/bin/python3", frozen=False) == ["/usr/bin/python3", "-m", "bridge"]


def test_what_failed_is_a_sentence(tmp_path: Path) -> None:
    file = tmp_path / "unit"
    wanted = Plan({file: "x"}, [[sys.executable, "-c", "import sys; sys.exit(3)"]], [], "")
    with pytest.raises(OSError, match=r"-c 'import sys; sys\.exit\(3\)' ended with 3$"):
        install(wanted)


def test_nothing_to_take_away_is_told_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    noisy = [sys.executable, "-c", "import sys; sys.exit('no such unit')"]
    assert uninstall(Plan({tmp_path / "unit": "x"}, [], [noisy], "")) == []
    assert capfd.readouterr() == ("", "")


def test_it_is_taken_away_again(tmp_path: Path) -> None:
    file = tmp_path / "unit"
    file.write_text("x")
    wanted = Plan({file: "x"}, [], [[sys.executable, "-c", "import sys; sys.exit(3)"]], "")
    assert uninstall(wanted) == [file]
    assert uninstall(wanted) == []

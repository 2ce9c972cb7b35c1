"""Keeping a program running for one person: a systemd user unit, a launchd agent, a Windows task.

Above: `service.py` (`ai-bridge service`) and the gateway's `service` command; below is the operating system. What would
be written and run is computed first (`plan`), so that `--dry-run` can show it. Knows no configuration of anybody.
"""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from xml.sax.saxutils import escape


@dataclass(frozen=True, slots=True)
class Program:
    """What is to be kept running. `label` names it everywhere, `folder` is where its log may lie."""

    label: str
    title: str
    command: Sequence[str]
    folder: Path
    environment: Mapping[str, str]
    stop_seconds: int = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to write (path to text), commands to run after that, how to undo it, and what to tell the person."""

    files: Mapping[Path, str]
    commands: Sequence[Sequence[str]]
    undo: Sequence[Sequence[str]]
    note: str
    encoding: str = "utf-8"

    def told(self, *, whole: bool) -> Iterator[str]:
        """For the person, what is written and run; with `whole` what is in the files, too."""
        for path, text in self.files.items():
            yield f"# {path}\n{text}" if whole else f"writing {path}"
        yield from map(shlex.join, self.commands)


def own_command(module: str, python: str = sys.executable, *, frozen: bool | None = None) -> list[str]:
    """How this program is started again: by its interpreter, or, built as a single file, by itself."""
    if getattr(sys, "frozen", False) if frozen is None else frozen:
        return [python]
    return [python, "-m", module]


def plan(program: Program, environ: Mapping[str, str], system: str = sys.platform) -> Plan:
    """How `system` (as in `sys.platform`) keeps `program` running. PATH is kept, or `npx` would not be found."""
    home = Path(environ.get("USERPROFILE" if system == "win32" else "HOME") or Path.home())
    variables = {"PATH": environ.get("PATH", os.defpath), **program.environment}
    if system == "win32":
        return _windows(program, environ)
    if system == "darwin":
        return _launchd(program, variables, home)
    base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    return _systemd(program, variables, base)


_CONTROL = re.compile(r"[\x01-\x1f\x7f]")

# Seccomp and rlimits only: what needs a mount or user namespace (ProtectSystem=, PrivateTmp=) keeps a user unit from
# starting on machines that forbid unprivileged namespaces, and MCP servers write where their owner lets them.
_HARDENING = """\
NoNewPrivileges=yes
RestrictSUIDSGID=yes
RestrictRealtime=yes
LockPersonality=yes
SystemCallArchitectures=native
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
UMask=0077
LimitCORE=0
"""


def _systemd(program: Program, variables: Mapping[str, str], base: Path) -> Plan:
    unit_name = f"{program.label}.service"
    settings = "".join(f"Environment={_systemd_word(f'{name}={value}')}\n" for name, value in variables.items())
    unit = f"""[Unit]
Description={program.title}
After=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={" ".join(_systemd_word(word, command=True) for word in program.command)}
{settings}Restart=on-failure
RestartSec=5
# refused for safety or a mistake in the configuration: starting again would not help
RestartPreventExitStatus=2 3
KillMode=mixed
TimeoutStopSec={program.stop_seconds}
{_HARDENING}
[Install]
WantedBy=default.target
"""
    user = ["systemctl", "--user"]
    return Plan(
        {base / "systemd" / "user" / unit_name: unit},
        [[*user, "daemon-reload"], [*user, "enable", "--now", unit_name]],
        [[*user, "disable", "--now", unit_name]],
        "to keep it running while you are logged out: loginctl enable-linger\n"
        f"its log: journalctl --user -u {unit_name}",
    )


def _systemd_word(word: str, *, command: bool = False) -> str:
    """Quoted as systemd.syntax(7) says; `%` is a specifier everywhere, `$` a variable in commands only."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    escaped = _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", escaped)  # a line's end would end the setting
    return f'"{escaped.replace("$", "$$") if command else escaped}"'


def _launchd(program: Program, variables: Mapping[str, str], home: Path) -> Plan:
    words = "\n".join(f"    <string>{escape(word)}</string>" for word in program.command)
    settings = "".join(
        f"<key>{escape(name)}</key><string>{escape(value)}</string>" for name, value in variables.items()
    )
    agent = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>{program.label}</string>
  <key>ProgramArguments</key>
  <array>
{words}
  </array>
  <key>EnvironmentVariables</key><dict>{settings}</dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>Crashed</key><true/></dict>
  <key>ExitTimeOut</key><integer>{program.stop_seconds}</integer>
  <key>Umask</key><integer>63</integer>
  <key>StandardErrorPath</key><string>{escape(str(program.folder / f"{program.label}.log"))}</string>
</dict>
</plist>
"""
    file = home / "Library" / "LaunchAgents" / f"{program.label}.plist"
    return Plan({file: agent}, [["launchctl", "load", "-w", str(file)]], [["launchctl", "unload", "-w", str(file)]], "")


def _windows(program: Program, environ: Mapping[str, str]) -> Plan:
    """A task by XML: `/TR` holds 261 characters, and tasks made by options stop on battery and after three days."""
    executable, *rest = program.command
    user = "\\".join(filter(None, (environ.get("USERDOMAIN"), environ.get("USERNAME"))))
    who = f"<UserId>{escape(user)}</UserId>" if user else ""
    task = f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo><Description>{escape(program.title)}</Description></RegistrationInfo>
  <Triggers><LogonTrigger><Enabled>true</Enabled>{who}</LogonTrigger></Triggers>
  <Principals>
    <Principal id="Author">{who}<LogonType>InteractiveToken</LogonType><RunLevel>LeastPrivilege</RunLevel></Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>10</Count></RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec><Command>{escape(_without_window(executable))}</Command>
      <Arguments>{escape(subprocess.list2cmdline(rest))}</Arguments></Exec>
  </Actions>
</Task>
"""
    file = program.folder / f"{program.label}-task.xml"
    name = ["/TN", program.label]
    create = ["schtasks", "/Create", "/F", "/XML", str(file), *name]
    return Plan(
        {file: task}, [create, ["schtasks", "/Run", *name]],
        [["schtasks", "/End", *name], ["schtasks", "/Delete", "/F", *name]],
        "variables of this window do not reach the task: keep them in the configuration or its secrets", "utf-16",
    )  # fmt: skip


def _without_window(executable: str) -> str:
    """`pythonw.exe` opens no console window where `python.exe` would."""
    path = PureWindowsPath(executable)
    return str(path.with_name("pythonw.exe")) if path.name.lower() == "python.exe" else executable


def told_why(error: OSError) -> str:
    """In words: Python's own have a number and quotes."""
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def install(wanted: Plan) -> None:
    """Write the files and run the commands. Raises OSError, and one of a sentence where a command failed."""
    for path, text in wanted.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding=wanted.encoding)
    for command in wanted.commands:
        code = subprocess.run(command, check=False).returncode
        if code:
            raise OSError(f"{shlex.join(command)} ended with {code}")


def uninstall(wanted: Plan) -> list[Path]:
    """Stop it and remove the files that `install` wrote; those that were there. Raises OSError."""
    there = [path for path in wanted.files if path.exists()]
    heard = None if there else subprocess.DEVNULL  # that there is nothing to stop is told in one sentence, by us
    for command in wanted.undo:
        subprocess.run(command, check=False, stdout=heard, stderr=heard)  # what isn't there need not be stopped
    for path in there:
        path.unlink()
    return there

"""Running the bridge in the background: a systemd user unit, a launchd agent, a Windows task.

Below `cli.py`. What would be written and run is computed first (`plan`), so that `--dry-run` can show it.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

LABEL = "ai-bridge"


@dataclass(frozen=True, slots=True)
class Plan:
    """Files to write (path to text), commands to run after that, and what to tell the person."""

    files: Mapping[Path, str]
    commands: Sequence[Sequence[str]]
    note: str


def plan(config: Path, environ: Mapping[str, str], system: str = sys.platform, python: str = sys.executable) -> Plan:
    """How this machine keeps a program running for one person. PATH is kept, or `npx` would not be found."""
    home = Path(environ.get("USERPROFILE" if system == "win32" else "HOME") or Path.home())
    command = [python, "-m", "bridge", "run", "--config", str(config)]
    path = environ.get("PATH", os.defpath)
    if system == "win32":
        return _windows(command, home)
    if system == "darwin":
        return _launchd(command, path, home, config.parent)
    return _systemd(command, path, home, environ)


def _systemd(command: Sequence[str], path: str, home: Path, environ: Mapping[str, str]) -> Plan:
    base = Path(environ.get("XDG_CONFIG_HOME") or home / ".config")
    unit = f"""[Unit]
Description=ai-bridge: lends this computer's MCP servers to a chat gateway
After=network-online.target

[Service]
ExecStart={" ".join(_systemd_word(word) for word in command)}
Environment={_systemd_word("PATH=" + path)}
Restart=on-failure
RestartSec=5
# refused for safety or a mistake in the configuration: starting again would not help
RestartPreventExitStatus=2 3
KillMode=mixed
TimeoutStopSec=20

[Install]
WantedBy=default.target
"""
    return Plan(
        {base / "systemd" / "user" / f"{LABEL}.service": unit},
        [["systemctl", "--user", "daemon-reload"], ["systemctl", "--user", "enable", "--now", f"{LABEL}.service"]],
        "to keep it running while you are logged out: loginctl enable-linger",
    )


def _systemd_word(word: str) -> str:
    """Quoted as systemd.syntax(7) says; `%` is a specifier and `$` a variable there."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{escaped}"'


def _launchd(command: Sequence[str], path: str, home: Path, folder: Path) -> Plan:
    words = "\n".join(f"    <string>{escape(word)}</string>" for word in command)
    agent = f"""<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>{LABEL}</string>
  <key>ProgramArguments</key>
  <array>
{words}
  </array>
  <key>EnvironmentVariables</key><dict><key>PATH</key><string>{escape(path)}</string></dict>
  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>Crashed</key><true/></dict>
  <key>StandardErrorPath</key><string>{escape(str(folder / "bridge.log"))}</string>
</dict>
</plist>
"""
    file = home / "Library" / "LaunchAgents" / f"{LABEL}.plist"
    return Plan({file: agent}, [["launchctl", "load", "-w", str(file)]], "")


def _windows(command: Sequence[str], home: Path) -> Plan:
    line = subprocess.list2cmdline(command)
    return Plan(
        {}, [["schtasks", "/Create", "/F", "/SC", "ONLOGON", "/TN", LABEL, "/TR", line],
             ["schtasks", "/Run", "/TN", LABEL]], "",
    )  # fmt: skip


def install(wanted: Plan) -> None:
    """Write the files and run the commands. Raises OSError, CalledProcessError."""
    for path, text in wanted.files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for command in wanted.commands:
        subprocess.run(command, check=True)

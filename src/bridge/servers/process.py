"""Starting a server's process alone in its group, and ending all of it. What is platform-dependent is here.

`stdio.py` stands on this. Pure decisions (`child_environment`, `resolve_command`) are apart from what acts.
"""

import ctypes
import os
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from bridge.settings import McpServerSettings

TAG = "AI_BRIDGE_SERVER"
"""Every child inherits this variable, `<boot id>:<server>`, so that strays can be told apart later."""

_POSIX_NAMES = (
    "HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR",
    "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME",
)  # fmt: skip
_WINDOWS_NAMES = (
    "APPDATA", "HOMEDRIVE", "HOMEPATH", "LOCALAPPDATA", "PATH", "PATHEXT", "PROCESSOR_ARCHITECTURE", "PROGRAMDATA",
    "PROGRAMFILES", "COMSPEC", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "USERNAME", "USERPROFILE", "WINDIR",
)  # fmt: skip
_PR_SET_PDEATHSIG = 1


class CommandNotFound(Exception):
    """The command of a server isn't on this machine. The message says what to do."""


def child_environment(settings: McpServerSettings, ambient: Mapping[str, str], *, windows: bool) -> dict[str, str]:
    """What a server sees: a short list of harmless names, what `inherit_env` names, then its own `env`."""
    if settings.inherit_env is True:
        result = dict(ambient)
    else:
        names = _WINDOWS_NAMES if windows else _POSIX_NAMES
        extra = settings.inherit_env if isinstance(settings.inherit_env, tuple) else ()
        wanted = {name.upper() if windows else name for name in (*names, *extra)}
        result = {
            name: value
            for name, value in ambient.items()
            # a shell function in the environment would be executed by the child's shell
            if (name.upper() if windows else name) in wanted and not value.startswith("()")
        }
    result.update({name: secret.get_secret_value() for name, secret in settings.env.items()})
    return result


def working_folder(cwd: str | None) -> str | None:
    """Where a server runs. Raises CommandNotFound, and FileNotFoundError, since a folder may come later."""
    folder = None if cwd is None else _at_home(cwd)
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"the folder in 'cwd' does not exist: {folder}")
    return folder


def _at_home(path: str) -> str:
    try:
        return str(Path(path).expanduser())
    except RuntimeError:
        raise CommandNotFound(f"no such person: {path.split('/')[0]}") from None


def resolve_command(command: str, environment: Mapping[str, str], folder: str | None) -> str:
    """The executable's path, looked up on the child's own PATH. No shell is ever involved.

    Raises CommandNotFound.
    """
    command = _at_home(command) if command.startswith("~") else command
    if folder is not None and "/" in command and not Path(command).is_absolute():
        command = str(Path(folder, command))
    path = environment.get("PATH", os.defpath)
    found = shutil.which(command, path=path)
    if found is not None:
        return found
    if "/" in command and Path(command).is_file():
        raise CommandNotFound(f"{command} is no program that may be run")
    hint = {
        "npx": " (is Node.js installed?)", "node": " (is Node.js installed?)", "npm": " (is Node.js installed?)",
        "uvx": " (is uv installed?)", "uv": " (is uv installed?)", "docker": " (is Docker installed?)",
    }.get(Path(command).name, "")  # fmt: skip
    words = command.split()
    if len(words) > 1 and shutil.which(words[0], path=path):
        hint = " (no shell is involved: what follows the program goes into 'args')"
    raise CommandNotFound(f"command not found: {command}{hint}")


def popen_options() -> dict[str, Any]:
    """A session and process group of its own; on Linux the kernel ends it when the bridge dies."""
    if sys.platform == "win32":
        return {"creationflags": 0x00000200}  # CREATE_NEW_PROCESS_GROUP
    options: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "linux" and _prctl is not None:
        options["preexec_fn"] = _die_with(os.getpid())
    return options


def _load_prctl() -> Callable[..., int] | None:
    if sys.platform != "linux":
        return None
    try:
        prctl: Callable[..., int] = ctypes.CDLL(None, use_errno=True).prctl
        return prctl
    except (OSError, AttributeError):
        return None


_prctl = _load_prctl()
_KILL: int = getattr(signal, "SIGKILL", signal.SIGTERM)
"""Windows knows no other way to end a process."""


def _die_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:  # runs between fork and exec: two system calls and nothing else
        if _prctl is not None:
            _prctl(_PR_SET_PDEATHSIG, _KILL)
        if os.getppid() != parent:
            os._exit(1)

    return prepare


def signal_group(group: int, number: int) -> bool:
    """Signal a whole process group; False where nothing of it is left (or it isn't ours)."""
    if sys.platform == "win32":
        return _signal_tree(group, number)
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_group(group: int) -> bool:
    """End a whole process group at once."""
    return signal_group(group, _KILL)


def _signal_tree(root: int, number: int) -> bool:
    import psutil

    try:
        top = psutil.Process(root)
        for process in [*top.children(recursive=True), top]:
            process.kill() if number != signal.SIGTERM else process.terminate()
    except psutil.Error:
        return False
    return True


def strays_of(root: int) -> list[Any]:
    """Descendants of `root` that have left its process group, as psutil processes."""
    import psutil

    try:
        below = psutil.Process(root).children(recursive=True)
    except psutil.Error:
        return []
    if sys.platform == "win32":
        return list(below)
    result = []
    for process in below:
        try:
            if os.getpgid(process.pid) != root:
                result.append(process)
        except (ProcessLookupError, PermissionError):
            continue
    return result


def started_at(pid: int) -> float | None:
    """When a process began, to tell it from another that was given the same number. None where it is gone.

    The unit is the system's own; only equality means something.
    """
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            return None
        return None if fields[0] == b"Z" else float(fields[19])  # proc_pid_stat(5): state, starttime
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else float(process.create_time())
    except psutil.Error:
        return None

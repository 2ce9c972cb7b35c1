"""Which process groups are ours, told to the guardian and kept in a file, so that none survives us.

`stdio.py` adds and removes; the guardian (`bridge/guardian.py`) acts when this process is killed; `sweep` looks
at the file of a run that ended badly, at the next start. One object per process that runs servers.
"""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bridge.servers.containers import Container
from bridge.servers.process import TAG, kill_group, started_at

_AGAIN_SECONDS = 1.0
_GUARDIAN = Path(__file__).resolve().parent.parent / "guardian.py"


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of an earlier run that was found alive."""

    pid: int
    name: str
    server: str
    ended: bool


class ProcessGroups:
    """The groups of the servers that run now. `folder` keeps `servers.json`; None keeps nothing on disk."""

    def __init__(self, folder: Path | None = None) -> None:
        self.boot_id = secrets.token_hex(8)
        self._file = None if folder is None else folder / "servers.json"
        self._groups: dict[int, dict[str, Any]] = {}
        self._told: dict[int, dict[str, Any]] = {}
        """What the guardian was told of each."""
        self._guardian: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None

    def add(self, group: int, server: str, container: Container | None = None) -> None:
        """From now on this group ends with us, come what may."""
        held = None
        if container is not None:
            held = {"tool": container.tool, "cidfile": container.cidfile, "environment": dict(container.environment)}
        word = {"add": group, "container": held}
        self._tell(word)
        self._told[group] = word
        self._groups[group] = {"group": group, "started": started_at(group), "server": server}
        if container is not None:
            self._groups[group] |= {"tool": container.tool, "cidfile": container.cidfile}
        self._write()

    def remove(self, group: int, *, ended: bool = True) -> None:
        """The group has been ended."""
        self._told.pop(group, None)
        if self._groups.pop(group, None) is not None and ended:
            self._tell({"gone": group})
            self._write()

    def close(self) -> None:
        """A clean stop: whatever is left of the groups ends, and what left them without parents; the guardian goes."""
        for group in list(self._groups):
            kill_group(group)
            self.remove(group)
        if self._guardian is not None:  # there were servers
            with suppress(Exception):  # psutil's own errors: what can't be looked at is not ours
                for pid in _tagged(self.boot_id):
                    _kill(pid)
        guardian = self._leave()
        if guardian is not None and guardian.stdin is not None:
            with suppress(OSError, ValueError):
                guardian.stdin.write(b'{"bye":true}\n')
                guardian.stdin.flush()
            with suppress(OSError):
                guardian.stdin.close()
            with suppress(subprocess.TimeoutExpired):
                guardian.wait(1)
            if guardian.poll() is None:
                guardian.kill()
                guardian.wait()
        if self._file is not None:
            with suppress(OSError):
                self._file.unlink()

    def _tell(self, word: dict[str, Any]) -> None:
        line = json.dumps(word).encode() + b"\n"
        for _ in range(2):
            guardian = self._guardian
            if guardian is None or guardian.poll() is not None:
                guardian = self._start()
            try:
                assert guardian.stdin is not None
                guardian.stdin.write(line)
                guardian.stdin.flush()
                return
            except OSError:
                continue  # somebody killed the guardian: a new one learns all groups

    def _start(self) -> "subprocess.Popen[bytes]":
        old = self._leave()
        if old is not None and old.stdin is not None:
            old.kill()
            old.wait()
            with suppress(OSError):
                old.stdin.close()
        options: dict[str, Any] = {"creationflags": 0x08000000} if sys.platform == "win32" else {}
        command = [sys.executable, "-I", "-S", str(_GUARDIAN)]
        if getattr(sys, "frozen", False):  # a single file (packaging/ai-bridge/one_file.py): unpacked anew, since
            command = [sys.executable, "--guardian"]  # what the bridge unpacked goes with it
            options["env"] = {**os.environ, "PYINSTALLER_RESET_ENVIRONMENT": "1"}
        self._guardian = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, start_new_session=sys.platform != "win32", cwd=_GUARDIAN.anchor, **options,
        )  # fmt: skip
        assert self._guardian.stdin is not None
        for word in self._told.values():
            self._guardian.stdin.write(json.dumps(word).encode() + b"\n")
        self._watch()
        return self._guardian

    def _watch(self) -> None:
        """The guardian says nothing: that its output ends is its death."""
        assert self._guardian is not None and self._guardian.stdout is not None
        self._began = time.monotonic()
        with suppress(RuntimeError, NotImplementedError):  # no loop, or Windows': the next server's start looks
            loop = asyncio.get_running_loop()
            loop.add_reader(self._guardian.stdout, self._died, loop, self._guardian)
            self._loop = loop

    def _died(self, loop: asyncio.AbstractEventLoop, guardian: "subprocess.Popen[bytes]") -> None:
        """Somebody killed it alone: another takes its place, though not in a hurry where it can't live."""
        if guardian.stdout is not None:
            loop.remove_reader(guardian.stdout)
        self._loop = None
        wait = max(0.0, self._began + _AGAIN_SECONDS - time.monotonic())
        loop.call_later(wait, self._replace, guardian)

    def _replace(self, guardian: "subprocess.Popen[bytes]") -> None:
        if self._told and self._guardian is guardian:
            with suppress(OSError):  # the next server's start tries again
                new = self._start()
                assert new.stdin is not None
                new.stdin.flush()

    def _leave(self) -> "subprocess.Popen[bytes] | None":
        """The guardian, which is watched no more."""
        guardian, self._guardian = self._guardian, None
        if guardian is not None and guardian.stdout is not None:
            if self._loop is not None:
                self._loop.remove_reader(guardian.stdout)
                self._loop = None
            guardian.stdout.close()
        return guardian

    def _write(self) -> None:
        if self._file is None:
            return
        state = {
            "boot_id": self.boot_id, "pid": os.getpid(), "started": started_at(os.getpid()),
            "groups": list(self._groups.values()),
        }  # fmt: skip
        new = self._file.with_suffix(".new")
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new.write_text(json.dumps(state), encoding="utf-8")
            new.chmod(0o600)
            new.replace(self._file)


def sweep(folder: Path) -> list[Leftover]:
    """End what a run that was killed left behind, by the file it kept. To be called before servers start.

    A process is ours only by its start time or by the variable that every child of that run inherited.
    """
    file = folder / "servers.json"
    try:
        state = json.loads(file.read_text(encoding="utf-8"))
        boot_id, groups = str(state["boot_id"]), list(state["groups"])
        owner, owner_started = int(state["pid"]), state["started"]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    if owner != os.getpid() and owner_started is not None and started_at(owner) == owner_started:
        return []  # that run is alive
    known = {int(entry["group"]): entry for entry in groups if isinstance(entry, dict) and "group" in entry}
    found = _tagged(boot_id)
    for group, entry in known.items():
        if entry.get("started") is not None and started_at(group) == entry["started"]:
            found.setdefault(group, ("", str(entry.get("server", ""))))
            kill_group(group)
    result = [Leftover(pid, name, server, _kill(pid)) for pid, (name, server) in found.items()]
    for entry in known.values():
        if "cidfile" in entry and "tool" in entry:
            Container(str(entry["tool"]), str(entry["cidfile"]), (), dict(os.environ)).remove()
    with suppress(OSError):
        file.unlink()
    return result


def _tagged(boot_id: str) -> dict[int, tuple[str, str]]:
    """Living processes that inherited the tag of that run: pid to name and server."""
    import psutil

    result = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            tag = process.environ().get(TAG, "")
            if tag.startswith(f"{boot_id}:") and process.status() != psutil.STATUS_ZOMBIE:
                result[process.pid] = (process.name(), tag.partition(":")[2])
    return result


def _kill(pid: int) -> bool:
    import psutil

    with suppress(psutil.NoSuchProcess):
        try:
            psutil.Process(pid).kill()
        except psutil.AccessDenied:
            return False
    return True

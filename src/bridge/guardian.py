"""Outlives the bridge by a moment: when the bridge is killed, ends the process groups it had started.

A script of its own, run by `servers/groups.py` as `python -I -S guardian.py`, standard library only and importing
nothing of ours, so that it stays a few megabytes small. It reads JSON lines from stdin: `{"add": GROUP,
"container": {"tool": T, "cidfile": F, "environment": {…}}?}`, `{"gone": GROUP}` and `{"bye": true}`. The end of stdin
without a `bye` is the bridge's death. It refuses to know what the groups do.
"""

import os
import signal
import sys
import time


def _end(group: int) -> None:
    try:
        if sys.platform != "win32":
            os.killpg(group, signal.SIGKILL)
        else:
            import subprocess

            subprocess.call(["taskkill", "/T", "/F", "/PID", str(group)])
    except OSError:
        pass


def _remove(container: "dict[str, dict[str, str] | str]") -> None:
    try:
        with open(str(container["cidfile"])) as file:  # noqa: PTH123 - pathlib would make this process larger
            identity = file.read().strip()
    except OSError:
        return
    tool, environment = str(container["tool"]), container["environment"]
    if identity and isinstance(environment, dict) and hasattr(os, "fork") and os.fork() == 0:
        try:
            os.execvpe(tool, [tool, "rm", "-f", identity], environment)  # noqa: S606 - no shell; the words are ours
        finally:
            os._exit(1)


def main() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    from json import loads

    groups: dict[int, dict[str, dict[str, str] | str] | None] = {}
    for line in sys.stdin:
        try:
            word = loads(line)
        except ValueError:
            continue  # the bridge died in the middle of a line
        if "add" in word:
            groups[word["add"]] = word.get("container")
        elif "gone" in word:
            groups.pop(word["gone"], None)
        elif "bye" in word:
            return
    for _ in range(3):  # again, for what was being forked at that moment
        for group in groups:
            _end(group)
        time.sleep(0.02)
    for container in groups.values():
        if container is not None:
            _remove(container)


if __name__ == "__main__":
    main()

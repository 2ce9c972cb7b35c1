"""Outlives the bridge by a moment: when the bridge is killed, ends the process groups it had started.

A script of its own, run by `servers/groups.py` as `python -I -S guardian.py`, standard library only and importing
nothing of ours, so that it stays a few megabytes small. It reads JSON lines from stdin: `{"add": GROUP, "started":
T?, "remove": [argv]?, "cidfile": F?}`, `{"gone": GROUP}` and `{"bye": true}`. The end of stdin without a `bye` is the
bridge's death. It refuses to know what the groups do.
"""

import os
import signal
import sys


def _end(group: int, container: "dict[str, dict[str, str] | str] | None") -> None:
    try:
        if hasattr(os, "killpg"):
            os.killpg(group, signal.SIGKILL)
        else:
            import subprocess

            subprocess.call(["taskkill", "/T", "/F", "/PID", str(group)])
    except OSError:
        pass
    if container is None:
        return
    try:
        with open(str(container["cidfile"])) as file:  # noqa: PTH123
            identity = file.read().strip()
        if identity and os.fork() == 0:
            tool, environment = str(container["tool"]), container["environment"]
            os.execvpe(tool, [tool, "rm", "-f", identity], dict(environment))  # type: ignore[arg-type]  # noqa: S606
    except OSError:
        pass


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
    for group, container in groups.items():
        _end(group, container)


if __name__ == "__main__":
    main()

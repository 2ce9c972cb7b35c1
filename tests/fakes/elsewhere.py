"""Runs one of our programs with what only POSIX has taken away, as far as that can be done on POSIX.

`python elsewhere.py gateway|bridge ARGUMENTS`. Python's own modules are loaded first: theirs differ on Windows, ours
must not care. What `sys.platform` and `os.name` decide stays as it is; mypy looks at those with `--platform win32`.
"""

import asyncio
import concurrent.futures.thread  # noqa: F401 - loaded first
import multiprocessing  # noqa: F401 - loaded first
import os
import runpy
import shutil  # noqa: F401 - loaded first
import signal
import socket  # noqa: F401 - loaded first
import sqlite3  # noqa: F401 - loaded first
import subprocess  # noqa: F401 - loaded first
import sys
import tempfile  # noqa: F401 - loaded first
import time
from typing import Any

GONE = {
    os: ("O_NOFOLLOW", "O_SYNC", "fdatasync", "fork", "setsid", "getuid",
         "geteuid", "getgid", "pidfd_open", "chown", "mkfifo", "sendfile", "fchown"),
    signal: ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGPIPE"),
    time: ("CLOCK_BOOTTIME",),
}  # fmt: skip


def _cannot(*_: Any) -> None:
    raise NotImplementedError


def main() -> None:
    for module, names in GONE.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
    os.supports_dir_fd.clear()
    loop: Any = asyncio.SelectorEventLoop
    loop.add_signal_handler = loop.remove_signal_handler = _cannot
    for name in ("grp", "termios", "tty"):
        sys.modules[name] = None
    program = sys.argv[1]
    sys.argv = [program, *sys.argv[2:]]
    runpy.run_module(program, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()

"""Room for as many open files as the house may need. Called once, before there are threads."""

import contextlib
import os
import sys
from pathlib import Path

_BESIDE = 5120
"""Beside the clients' connections: bridges, HTTP requests, models, files."""


def make_room(connections: int) -> None:
    """Raise the limit, if the system lets us, and have the table of open files made large enough now.

    Linux makes the table larger when it is full, and a process with threads waits 10 to 20 ms for that each time,
    with nobody served (`expand_files` in fs/file.c waits for all processors).
    """
    if sys.platform == "win32":
        return
    import fcntl
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _BESIDE
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    highest = wanted if soft == resource.RLIM_INFINITY else min(wanted, soft)
    with contextlib.suppress(OSError), Path(os.devnull).open() as some:
        os.close(fcntl.fcntl(some, fcntl.F_DUPFD_CLOEXEC, highest - 1))

"""A person at a terminal: a program in a pseudo-terminal, keys in, what is shown out."""

import contextlib
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Sequence

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x1b[=>]|\r")


class PseudoTerminal:
    """`text` is everything shown so far without the escape sequences; `raw` with them."""

    def __init__(self, arguments: Sequence[str], *, rows: int = 30, columns: int = 100, **options: object) -> None:
        self.raw = ""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

        def terminal_of_its_own() -> None:
            os.setsid()
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)

        environ = {**os.environ, "TERM": "xterm-256color", "PROMPT_TOOLKIT_NO_CPR": "1", "LANG": "C.UTF-8"}
        environ.update(options.pop("environ", {}))
        self.process = subprocess.Popen(
            arguments, stdin=slave, stdout=slave, stderr=slave, env=environ, preexec_fn=terminal_of_its_own, **options
        )
        os.close(slave)
        self._master = master
        self._mark = 0

    @property
    def text(self) -> str:
        return _ESCAPES.sub("", self.raw)

    def read(self, seconds: float) -> None:
        """Take in what is shown within `seconds`, at least what is there already."""
        with contextlib.suppress(OSError):
            if select.select([self._master], [], [], seconds)[0]:
                self.raw += os.read(self._master, 65536).decode("utf-8", "replace")

    def expect(self, pattern: str, seconds: float = 15) -> str:
        """Wait until `pattern` was shown since the last time; the match."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            found = re.compile(pattern).search(self.text, self._mark)
            if found:
                self._mark = found.end()
                return found.group()
            self.read(0.05)
        raise AssertionError(f"{pattern!r} was not shown after:\n{self.text[self._mark :]}")

    def send(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    def wait(self, seconds: float = 15) -> int:
        """Wait for the end; the exit code."""
        until = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < until:
            self.read(0.05)
        self.read(0)
        return self.process.wait(0.1)

    def __enter__(self) -> "PseudoTerminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._master)

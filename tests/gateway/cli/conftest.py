"""Running the command line as a person does: a process, its output, its exit code."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gateway(home: Path, tmp_path: Path) -> Run:
    """Run `gateway ARGUMENTS` in an empty folder with a fresh `$GATEWAY_HOME`."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()

    def run(*arguments: str, stdin: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            capture_output=True, text=True, timeout=60, cwd=folder, input=stdin or "", check=False,
            env={**os.environ, "GATEWAY_HOME": str(home), "HOME": str(tmp_path), **environ},
        )  # fmt: skip

    return run


class Served:
    """A gateway process that serves, as `gateway run --port 0` starts it."""

    def __init__(self, home: Path, folder: Path, *arguments: str, **environ: str) -> None:
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "run", "--port", "0", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env={**os.environ, "GATEWAY_HOME": str(home), "HOME": str(folder), **environ},
        )  # fmt: skip
        self.lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("feishu"):
                break
        assert self.process.poll() is None, "\n".join(self.lines)

    @property
    def url(self) -> str:
        return str(json.loads((self.home / "gateway.json").read_text())["url"])

    @property
    def token(self) -> str:
        return (self.home / "admin.token").read_text().strip()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ask it to stop; the exit code."""
        self.process.send_signal(number)
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        self.process.stdout.close()
        return self.process.wait(30)


@pytest.fixture
def served(home: Path, tmp_path: Path) -> Iterator[Served]:
    """A running gateway on the fresh `$GATEWAY_HOME`."""
    running = Served(home, tmp_path)
    yield running
    if running.process.poll() is None:
        running.process.kill()
        running.process.wait()
    assert running.process.stdout is not None
    running.process.stdout.close()

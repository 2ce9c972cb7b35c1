"""Running the command line as a person does: a process, its output, its exit code."""

import os
import subprocess
import sys
from collections.abc import Callable
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

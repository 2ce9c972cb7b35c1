"""What a configuration refers to."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODEL = """\
models:
  - {name: a, base_url: 'http://127.0.0.1:9/v1', api_key: '${secret:MODEL_KEY}', model: m}
"""


def _check(home: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HOME": str(home), "GATEWAY_HOME": str(home / "state")}
    return subprocess.run(
        [sys.executable, "-m", "gateway", "config", "check", "--config", str(home / "gateway.yaml")],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("folder", [".ai-bridge", "."])
def test_a_secret_of_the_gateways_file_is_beside_it_or_the_bridges(tmp_path: Path, folder: str) -> None:
    (tmp_path / "gateway.yaml").write_text(MODEL)
    assert _check(tmp_path).returncode == 2
    secrets = tmp_path / folder / "secrets.yaml"
    secrets.parent.mkdir(exist_ok=True)
    secrets.write_text("MODEL_KEY: abc\n")
    secrets.chmod(0o644)
    refused = _check(tmp_path)
    assert refused.returncode == 3 and f"chmod 600 {secrets}" in refused.stderr
    secrets.chmod(0o600)
    assert _check(tmp_path).returncode == 0

"""A signal before the bridge is put together ends it as cleanly as one afterwards."""

import signal
from pathlib import Path

import pytest

from tests.fakes.early_signal import signalled_while_importing


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda each: each.name)
@pytest.mark.parametrize("module", ["bridge.running", "bridge.settings", "bridge.app"])
def test_a_signal_while_it_is_still_being_imported(tmp_path: Path, module: str, number: signal.Signals) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {url: 'ws://127.0.0.1:9/v1/tunnel', token: 'x-0123456789abcdef0123456789abcdef'}\n")
    config.chmod(0o600)
    done = signalled_while_importing(
        "bridge", module, number, ["run", "--config", str(config)], tmp_path, HOME=str(tmp_path)
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

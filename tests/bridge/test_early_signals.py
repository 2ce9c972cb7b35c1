"""A signal before the bridge is put together ends it as cleanly as one afterwards."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda each: each.name)
@pytest.mark.parametrize("module", ["bridge.running", "bridge.settings", "bridge.app"])
def test_a_signal_while_it_is_still_being_imported(tmp_path: Path, module: str, number: signal.Signals) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("server: {url: 'ws://127.0.0.1:9/v1/tunnel', token: 'x-0123456789abcdef0123456789abcdef'}\n")
    config.chmod(0o600)
    program = textwrap.dedent(f"""
        import os, signal, sys
        class Signalled:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), {int(number)})
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
        sys.meta_path.insert(0, Signalled())
        sys.argv[1:] = ["run", "--config", {str(config)!r}]
        from bridge.__main__ import main
        main()
    """)
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"HOME": str(tmp_path)}, cwd=tmp_path, capture_output=True,
        text=True, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

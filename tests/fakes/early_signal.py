"""A program of ours that is sent a signal while it is still being imported."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path


def signalled_while_importing(
    program: str, module: str, number: signal.Signals, arguments: list[str], folder: Path, **environ: str
) -> subprocess.CompletedProcess[str]:
    """Run `python -m PROGRAM ARGUMENTS` in `folder`; the signal comes as soon as `module` is looked for."""
    code = textwrap.dedent(f"""
        import os, signal, sys
        class Signalled:
            def find_spec(self, name, path=None, target=None):
                if name == {module!r}:
                    os.kill(os.getpid(), {int(number)})
        signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may ignore it
        sys.meta_path.insert(0, Signalled())
        sys.argv[1:] = {arguments!r}
        from {program}.__main__ import main
        main()
    """)
    return subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environ, cwd=folder, capture_output=True, text=True, timeout=30
    )

"""`ai-bridge service`: the bridge in the background. Above `background.py`, which knows the operating systems."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bridge import background
from bridge.background import Plan, Program, own_command
from bridge.running import Exit

LABEL = "ai-bridge"


def plan(config: Path, environ: Mapping[str, str], system: str = sys.platform, python: str = sys.executable) -> Plan:
    """How this machine keeps the bridge of `config` running."""
    command = [*own_command("bridge", python), "run", "--config", str(config)]
    title = "ai-bridge: lends this computer's MCP servers to a chat gateway"
    return background.plan(Program(LABEL, title, command, config.parent, {}), environ, system)


def install(config: Path, *, dry_run: bool, show: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Install it, or only show what would be done. Raises Exit."""
    wanted = plan(config, os.environ)
    for line in wanted.told(whole=dry_run):
        show(line)
    if not dry_run:
        try:
            background.install(wanted)
        except OSError as error:
            raise Exit(
                1, f"that did not work: {background.told_why(error)}; next: ai-bridge service install --dry-run"
            ) from None
    if wanted.note:
        say(wanted.note)


def uninstall(config: Path, show: Callable[[str], None]) -> None:
    """Stop it and take it away. Raises Exit."""
    try:
        removed = background.uninstall(plan(config, os.environ))
    except OSError as error:
        raise Exit(1, f"that did not work: {background.told_why(error)}") from None
    show("\n".join(f"removed {path}" for path in removed) or "nothing was installed")

"""`gateway service`: the gateway in the background, by systemd, launchd or a Windows task, for one person."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption, print_json

if TYPE_CHECKING:
    from bridge.background import Plan

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Run in the background.")
LABEL = "busgate"


@app.command()
def install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Start the gateway with this computer, and again when it fails."""
    from bridge import background

    wanted = _plan(config)
    if as_json:
        print_json({"files": {str(path): text for path, text in wanted.files.items()}, "commands": wanted.commands,
                    "note": wanted.note, "installed": not dry_run})  # fmt: skip
    else:
        for line in wanted.told(whole=dry_run):
            print(line)
    if not dry_run:
        try:
            background.install(wanted)
        except OSError as error:
            raise Failure(
                f"that did not work: {background.told_why(error)}; next: gateway service install --dry-run"
            ) from None
    if wanted.note:
        print(wanted.note, file=sys.stderr)


@app.command()
def uninstall(config: ConfigOption = None) -> None:
    """Stop it, and start it no more."""
    from bridge import background

    try:
        removed = background.uninstall(_plan(config))
    except OSError as error:
        raise Failure(f"that did not work: {background.told_why(error)}") from None
    print("\n".join(f"removed {path}" for path in removed) or "nothing was installed")


def _plan(config: str | None) -> "Plan":
    """The configuration must load: a service that can't start helps nobody. Raises ConfigurationError."""
    from bridge.background import Program, own_command, plan
    from gateway.settings import load_settings

    loaded = load_settings(config)
    command = [*own_command("gateway"), "run"]
    if loaded.source is not None:
        command += ["--config", str(Path(loaded.source).absolute())]
    stop = int(loaded.settings.limits.drain_seconds) + 15
    title = "busgate: a chat gateway"
    variables = {"GATEWAY_HOME": str(loaded.home)}
    return plan(Program(LABEL, title, command, loaded.home, variables, stop), os.environ)

"""`gateway restore`: the state of a backup, with the present one kept aside."""

from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption, print_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE")], as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Bring back the state in FILE; the gateway must be stopped."""
    from agent.sessions.lock import FolderInUse, FolderLock
    from gateway.cli.archive import NotABackup, read_archive
    from gateway.cli.running import find_running
    from gateway.settings import load_settings

    loaded = load_settings(config)
    running = find_running(loaded.home)
    if running is not None:
        raise Failure(f"the gateway is running (pid {running.pid}): stop it first")
    if not file.is_file():
        raise Failure(f"{file}: no such file")
    if (loaded.home / "sessions").is_dir():
        lock = FolderLock(loaded.home / "sessions")
        try:
            lock.take()
        except FolderInUse as error:
            raise Failure(str(error)) from None
        lock.give_back()
    try:
        aside = read_archive(file, loaded.home)
    except NotABackup as error:
        raise Failure(f"{file}: {error}") from None
    except OSError as error:
        raise Failure(f"{loaded.home}: {error.strerror or error}") from None
    if as_json:
        print_json({"home": str(loaded.home), "former": str(aside) if aside else None})
        return
    print(f"restored {loaded.home}")
    if aside is not None:
        print(f"the state from before is in {aside}")

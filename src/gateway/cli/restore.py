"""`gateway restore`: the state of a backup, with the present one kept aside."""

import sys
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
    sessions = loaded.home / "sessions"
    lock, held = FolderLock(sessions), False

    def hold() -> None:
        nonlocal held
        if not held and sessions.is_dir():
            lock.take()
            held = True

    def let_move() -> None:
        """A gateway may have begun the folder meanwhile. Where an open file keeps its folder, the lock goes first."""
        nonlocal held
        hold()
        if held and sys.platform == "win32":
            lock.give_back()
            held = False

    try:
        hold()
        aside = read_archive(file, loaded.home, unpacked=let_move)
    except FolderInUse as error:
        raise Failure(str(error)) from None
    except NotABackup as error:
        raise Failure(f"{file}: {error}") from None
    except OSError as error:
        raise Failure(f"{loaded.home}: {error.strerror or error}") from None
    finally:
        if held:
            lock.give_back()
    if as_json:
        print_json({"home": str(loaded.home), "former": str(aside) if aside else None})
        return
    print(f"restored {loaded.home}")
    if aside is not None:
        print(f"the state from before is in {aside}")

"""`gateway backup`: all state in one file, consistent while serving."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption, print_json

COPY_SECONDS = 3600.0
"""All sessions are copied before the answer comes; a copy that nobody takes lies there for hours."""

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file; it must not exist.")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write all state into FILE. Keep it safe: it holds the admin token."""
    from gateway.cli.archive import write_archive
    from gateway.cli.office import Office

    if file.exists():
        raise Failure(f"{file} exists already")
    office = Office(config)
    home = office.loaded.home
    copied = office.ask("backup.sessions", patience=COPY_SECONDS)
    folder = Path(copied["folder"])
    if folder.parent.parent != home or not folder.parent.name.startswith("backup-"):
        raise Failure("the gateway named a folder that is not its own")
    try:
        count = write_archive(file, home, folder)
    except OSError as error:
        raise Failure(f"{file}: {error.strerror or error}") from None
    finally:
        shutil.rmtree(folder.parent, ignore_errors=True)
    if as_json:
        print_json({"file": str(file), "files": count, "sessions": copied["sessions"]})
    else:
        print(f"{file}: {_so_many(copied['sessions'], 'session')}, {_so_many(count, 'file')}")


def _so_many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"

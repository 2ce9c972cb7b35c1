"""`ai-bridge import`: shows what is found and writes what the person chooses. Above `importer.py` and `editing.py`."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.configuration import ConfigurationError, Place, Problem
from bridge.editing import ConfigurationFile, add_secrets, check_private
from bridge.importer import Found, ImportFailed, choose, read, sources
from bridge.loading import config_path
from bridge.terminal import at_terminal


def run_import(
    config: Path | None, source: str | None, select: Sequence[str] | None, *, everything: bool,
    say: Callable[[str], None],
) -> int:  # fmt: skip
    """Take servers over. 0 where something was written or nothing new was there, 1 where nothing was found.

    Raises ConfigurationError (2) for a selection that can't be met, RefusedForSafety (3).
    """
    path = config_path(config)
    secrets = path.parent / "secrets.yaml"
    check_private(secrets)
    try:
        found = _find(source, say)
        if not found:
            say("no MCP servers were found; name a file: ai-bridge import --from PATH")
            return 1
        if select is None and not everything:
            select = _choose_at_terminal(found)
        file = ConfigurationFile(path)
        chosen, notes = choose(found, file.servers(), select)
    except ImportFailed as error:
        raise ConfigurationError([Problem(Place("import"), "", str(error))]) from None
    for item in chosen:
        file.add_server(item.entry)
        notes += [f"{item.name}: {note}" for note in item.notes]
    held = {name: value for item in chosen for name, value in item.secrets.items()}
    if held:
        add_secrets(secrets, held)
    if chosen:
        file.save()
        sys.stdout.write("".join(f"{item.name}\n" for item in chosen))
    for note in notes:
        say(note)
    kept = f", {len(held)} secrets to {secrets}" if held else ""
    say(f"{len(chosen)} servers written to {path}{kept}; next: ai-bridge check")
    return 0


def _find(source: str | None, say: Callable[[str], None]) -> list[Found]:
    found: list[Found] = []
    for one in sources(source, os.environ, Path.cwd()):
        try:
            here = read(one)
        except ImportFailed as error:
            if source is not None:
                raise
            say(f"left out: {error}")
            continue
        if here:
            say(f"{one.path}: {', '.join(item.name for item in here)}")
        found += here
    return found


def _choose_at_terminal(found: Sequence[Found]) -> list[str] | None:
    if not at_terminal():
        raise ImportFailed("say which: --all, or --select " + ",".join(sorted({item.name for item in found})))
    sys.stderr.write("which of them? (names separated by commas, empty for all): ")
    sys.stderr.flush()
    line = sys.stdin.readline().strip()
    return [name.strip() for name in line.split(",") if name.strip()] or None

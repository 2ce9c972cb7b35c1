"""`ai-bridge import`: shows what is found and writes what the person chooses. Above `importer.py` and `editing.py`."""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge.choosing import choose, separate
from bridge.configuration import ConfigurationError, Place, Problem
from bridge.editing import ConfigurationFile, add_secrets, check_private, read_secrets
from bridge.importer import Found, ImportFailed, read, sources
from bridge.loading import config_path
from bridge.servers.definitions import clean
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
    separate(chosen, read_secrets(secrets))
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
    kept = f", {_count(len(held), 'secret')} to {secrets}" if held else ""
    say(f"{_count(len(chosen), 'server')} written to {path}{kept}; next: ai-bridge check")
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


def _choose_at_terminal(found: Sequence[Found]) -> list[str]:
    """What the person ticks; nothing is shared that was not named."""
    found = [item for item in found if not item.wrong]
    names = list(dict.fromkeys(item.name for item in found))
    if not at_terminal():
        raise ImportFailed("say which: --all, or --select " + ",".join(sorted(names)))
    first = {item.name: item for item in reversed(found)}
    for number, name in enumerate(names, 1):
        entry = first[name].entry
        what = entry.get("url") or " ".join([str(entry.get("command", "")), *map(str, entry.get("args", ()))])
        sys.stderr.write(f"  [ ] {number}  {clean(name)}  ({first[name].source.program})  {clean(what)[:100]}\n")
    sys.stderr.write("which of them? (numbers or names, 'all', empty for none): ")
    sys.stderr.flush()
    return ticked(sys.stdin.readline(), names)


def ticked(line: str, names: Sequence[str]) -> list[str]:
    """The names that a line of numbers and names means. Raises ImportFailed for one that isn't there. Pure."""
    words = [word for word in line.replace(",", " ").split() if word]
    if [word.lower() for word in words] in (["all"], ["*"]):
        return list(names)
    chosen = []
    for word in words:
        if word in names:
            chosen.append(word)
        elif word.isdecimal() and 1 <= int(word) <= len(names):
            chosen.append(names[int(word) - 1])
        else:
            raise ImportFailed(f"there is no {word[:40]!r} in the list")
    return chosen


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")

"""Which of the servers that were found are taken over, and under which names their secrets are kept.

Pure; between `importing.py`, which asks the person, and `importer.py`, which reads the files.
"""

from collections.abc import Mapping, Sequence

from bridge.importer import Found, ImportFailed, server_name


def separate(chosen: Sequence[Found], known: Mapping[str, str]) -> None:
    """Give each secret a name of its own, apart from what `known` holds and from other servers' of the same name."""
    used = dict(known)
    for item in chosen:
        for name, value in list(item.secrets.items()):
            free, number = name, 2
            while used.get(free, value) != value:
                free, number = f"{name}_{number}", number + 1
            used[free] = value
            item.secrets[free] = item.secrets.pop(name)
            for section in ("env", "headers"):
                values = item.entry.get(section, {})
                values.update({key: f"${{secret:{free}}}" for key in values if values[key] == f"${{secret:{name}}}"})


def choose(found: Sequence[Found], taken: set[str], select: Sequence[str] | None) -> tuple[list[Found], list[str]]:
    """What to take over, and what to say about the rest: one of each name, nothing that is configured already.

    Raises ImportFailed where something was selected that isn't there.
    """
    chosen: dict[str, Found] = {}
    notes = []
    select = None if select is None else [server_name(name) for name in select]
    for item in found:
        if select is not None and item.name not in select:
            continue
        if item.wrong:
            notes.append(f"{item.name}: left out, {item.wrong}")
        elif item.name in taken:
            notes.append(f"{item.name}: configured already, left as it is")
        elif item.name in chosen:
            if item.entry != chosen[item.name].entry:
                notes.append(f"{item.name}: another one in {item.source.path} is left out")
        else:
            chosen[item.name] = item
    missing = [name for name in select or () if name not in {item.name for item in found}]
    if missing:
        names = ", ".join(sorted({item.name for item in found})) or "none"
        raise ImportFailed(f"not found: {', '.join(missing)} (there is: {names})")
    return list(chosen.values()), notes

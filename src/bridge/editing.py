"""Changing the person's configuration and secrets: comments stay, files stay private, a crash leaves the old file.

Below `importer.py` and the commands. It refuses to know where values come from.
"""

import io
import json
import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from bridge.configuration import ConfigurationError, Place, Problem, RefusedForSafety
from bridge.foreign_settings import SERVER_KEYS, normalise_servers
from bridge.jsonc import looks_like_json, plain_json


class ConfigurationFile:
    """The configuration as it stands, to be changed and saved. Raises ConfigurationError where it isn't YAML."""

    def __init__(self, path: Path) -> None:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import YAMLError

        self.path = path
        self._yaml = YAML()
        self._yaml.preserve_quotes = True
        self._yaml.indent(mapping=2, sequence=4, offset=2)
        self._yaml.width = 4096
        text = path.read_text(encoding="utf-8-sig") if path.exists() else ""
        self._json = looks_like_json(text)
        """JSON stays JSON (its comments are lost); the YAML emitter can't add to it in its own style."""
        try:
            data = json.loads(plain_json(text)) if self._json else self._yaml.load(text) if text.strip() else None
        except ValueError as error:
            raise ConfigurationError([Problem(Place(str(path)), "", f"this is no JSON: {error}")]) from None
        except YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            place = Place(str(path), mark.line + 1, mark.column + 1) if mark is not None else Place(str(path))
            raise ConfigurationError([Problem(place, "", "this is no YAML")]) from None
        if data is not None and not isinstance(data, dict):
            raise ConfigurationError([Problem(Place(str(path), 1, 1), "", "must be a mapping (key: value)")])
        self.data: Any = data if data is not None else {"version": "1.0"}

    def put(self, section: str, values: Mapping[str, Any]) -> None:
        """Set members of a section; None takes a member away."""
        if not isinstance(self.data.get(section), dict):
            self.data[section] = {}
        for name, value in values.items():
            if value is None:
                self.data[section].pop(name, None)
            else:
                self.data[section][name] = value

    def servers(self) -> set[str]:
        """The names of the servers that are configured."""
        key = self._servers_key()
        try:
            listed = normalise_servers(self.data.get(key))
        except ValueError as error:
            raise ConfigurationError([Problem(Place(str(self.path)), key, str(error))]) from None
        return {str(entry["name"]) for entry in listed if isinstance(entry, Mapping) and "name" in entry}

    def add_server(self, entry: Mapping[str, Any]) -> None:
        """Add one server, in the form the file has its servers in."""
        key = self._servers_key()
        if not self.data.get(key):
            self.data[key] = []
        node = self.data[key]
        if isinstance(node, list):
            node.append(dict(entry))
            return
        rest = {name: value for name, value in entry.items() if name != "name"}
        inner = next((node[name] for name in SERVER_KEYS if isinstance(node.get(name), dict)), node)
        inner[entry["name"]] = rest

    def _servers_key(self) -> str:
        return next((key for key in SERVER_KEYS if key in self.data), "mcp_servers")

    def save(self) -> None:
        """Write the file, 0600."""
        out = io.StringIO()
        if self._json:
            json.dump(self.data, out, ensure_ascii=False, indent=2)
        else:
            self._yaml.dump(self.data, out)
        write_private(self.path, out.getvalue())


def add_secrets(path: Path, secrets: Mapping[str, str]) -> None:
    """Add to `secrets.yaml`, made 0600. Raises RefusedForSafety where others can read it."""
    from ruamel.yaml import YAML

    check_private(path)
    yaml = YAML()
    yaml.width = 4096
    known = yaml.load(path.read_text(encoding="utf-8")) if path.exists() else None
    known = known if isinstance(known, dict) else {}
    known.update(secrets)
    out = io.StringIO()
    yaml.dump(known, out)
    write_private(path, out.getvalue())


def read_secrets(path: Path) -> dict[str, str]:
    """What is in `secrets.yaml`; {} where there is none. Raises RefusedForSafety."""
    from ruamel.yaml import YAML

    if not path.exists():
        return {}
    check_private(path)
    known = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    return {str(name): str(value) for name, value in known.items()} if isinstance(known, dict) else {}


def check_private(path: Path) -> None:
    """Raises RefusedForSafety where others can read a file that holds secrets."""
    if os.name == "posix" and path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077:
        place = Place(str(path))
        raise RefusedForSafety([Problem(place, "", f"others can read this file; do: chmod 600 {path}")])


def write_private(path: Path, text: str) -> None:
    """Replace a file at once, readable by its owner only."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    with suppress(FileNotFoundError):
        new.unlink()
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)

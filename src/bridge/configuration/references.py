"""References in a configuration: `${VAR}`, `${env:VAR}`, `${VAR:-default}`, `${file:PATH}`, `${secret:NAME}`.

`$$` before a brace keeps it: `$${VAR}` is the text `${VAR}`. A default is a text
and may hold no brace. A relative PATH is beside the configuration; one final line
end of a file is left out. Secrets come from `secrets.yaml` beside the
configuration, or where none is there from `~/.ai-bridge/secrets.yaml`; nobody
else may read it.

Only enabled sections are expanded: a mapping with `enabled: false`, or one that the
caller's `enabled` says is off, keeps its references as they are.
"""

import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any, TypeAlias

from bridge.configuration.document import Document, Path, load_text
from bridge.configuration.problems import ConfigurationError, Place, Problem, RefusedForSafety, dotted

_REFERENCE = re.compile(r"\$(\$?)\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\Z")
MAX_FILE_BYTES = 65_536
SHARED_SECRETS = "~/.ai-bridge/secrets.yaml"

Enabled: TypeAlias = Callable[[Path, Mapping[str, Any]], bool]


def enabled_unless_false(_path: Path, section: Mapping[str, Any]) -> bool:
    """The general rule: a section is on unless it says `enabled: false`."""
    return section.get("enabled") is not False


class _Missing(Exception):
    """A reference that leads nowhere; the message is for people."""


class MissingReferences(ConfigurationError):
    """References that lead nowhere: their `paths` still hold them, and so do those `kept` because they are off."""

    def __init__(self, missing: Mapping[Path, Problem], kept: dict[Path, Path]) -> None:
        super().__init__(missing.values())
        self.paths = tuple(missing)
        self.kept = kept


@dataclass(slots=True)
class References:
    """Where references are looked up. `folder` holds the configuration."""

    environ: Mapping[str, str]
    folder: FilePath
    secrets_name: str = "secrets.yaml"
    _secrets: Mapping[str, Any] | None = field(default=None, init=False)

    def resolve(self, inner: str) -> str:
        """The text behind `${inner}`. Raises _Missing, RefusedForSafety, ConfigurationError."""
        kind, colon, rest = inner.partition(":")
        if colon and kind == "file":
            return self._file(rest.strip())
        if colon and kind == "secret":
            return self._secret(rest.strip())
        name, dash, default = (rest if colon and kind == "env" else inner).partition(":-")
        if not _NAME.match(name):
            raise _Missing("not a reference that is known: ${VAR}, ${VAR:-default}, ${file:PATH}, ${secret:NAME}")
        value = self.environ.get(name)
        if value:
            return value
        if dash:
            return default
        raise _Missing(f"the environment variable {name} is " + ("empty" if value == "" else "not set"))

    def _file(self, name: str) -> str:
        try:
            with (self.folder / FilePath(name).expanduser()).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a home that nobody has
            reason = getattr(error, "strerror", None) or "cannot be read"
            raise _Missing(f"the file {name}: {reason.lower()}") from None
        if len(data) > MAX_FILE_BYTES:
            raise _Missing(f"the file {name} is larger than {MAX_FILE_BYTES} bytes")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise _Missing(f"the file {name} is not UTF-8 text") from None
        return text.removesuffix("\n").removesuffix("\r")

    def _secret(self, name: str) -> str:
        if self._secrets is None:
            self._secrets = self._load_secrets()
        value = self._secrets.get(name)
        if not isinstance(value, str | int | float) or isinstance(value, bool) or value == "":
            raise _Missing(f"{self.secrets_name} has no text named {name}")
        return str(value)

    def _load_secrets(self) -> Mapping[str, Any]:
        path = self.folder / self.secrets_name
        shared = FilePath(os.path.expanduser(SHARED_SECRETS))  # noqa: PTH111 - without a home, Path.expanduser raises
        if not path.exists() and shared.exists():
            path = shared
        try:
            with path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                data = file.read()
        except OSError as error:
            raise _Missing(f"{self.secrets_name}: {(error.strerror or 'cannot be read').lower()}") from None
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            problem = Problem(Place(str(path)), "", "others can read this file; do: chmod 600 " + str(path))
            raise RefusedForSafety([problem])
        return load_text(data.decode("utf-8", "replace"), str(path)).data


def expand(document: Document, references: References, enabled: Enabled = enabled_unless_false) -> dict[Path, Path]:
    """Replace the references of all enabled sections in place.

    Returns the paths that still hold references because their section is off, each with
    that section. Raises MissingReferences with the place of each one that is missing, RefusedForSafety.
    """
    kept: dict[Path, Path] = {}
    missing: dict[Path, Problem] = {}

    def walk(value: Any, path: Path, off: Path | None) -> Any:
        if isinstance(value, dict):
            if off is None and not enabled(path, value):
                off = path
            return {key: walk(child, (*path, key), off) for key, child in value.items()}
        if isinstance(value, list):
            return [walk(child, (*path, index), off) for index, child in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        try:
            return _REFERENCE.sub(lambda found: _replace(found, references), value)
        except _Missing as reason:
            if off is None:
                missing[path] = Problem(document.place(path), dotted(path), str(reason))
            else:
                kept[path] = off
            return value
        except RefusedForSafety:
            if off is None:
                raise
            kept[path] = off
            return value

    document.data = walk(document.data, (), None)
    if missing:
        raise MissingReferences(missing, kept)
    return kept


def _replace(found: re.Match[str], references: References) -> str:
    escaped, inner = found.groups()
    return "${" + inner + "}" if escaped else references.resolve(inner)

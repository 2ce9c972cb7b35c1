"""What is wrong with a configuration, as people read it: one line a mistake, never a value."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file with line and column (from 1), or the name of an environment variable."""

    source: str
    line: int | None = None
    column: int | None = None

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. `path` is the dotted key, '' for the document itself."""

    place: Place
    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.place} {self.path}: {self.message}" if self.path else f"{self.place}: {self.message}"


class ConfigurationError(Exception):
    """A configuration that can't be used; the program's exit code is 2."""

    exit_code = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: Sequence[Problem] = sorted(
            problems, key=lambda p: (p.place.source, p.place.line or 0, p.place.column or 0, p.path)
        )
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RefusedForSafety(ConfigurationError):
    """A configuration that is understood and refused because it would be unsafe; exit code 3."""

    exit_code = 3


def dotted(path: Iterable[str | int]) -> str:
    """`server.port`, `models[0].api_key`."""
    out = ""
    for part in path:
        if isinstance(part, int):
            out += f"[{part}]"
        else:
            word = part if part.isprintable() and len(part) <= 80 else ascii(part[:80])
            out += f".{word}" if out else word
    return out

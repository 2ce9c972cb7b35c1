"""Configuration files for both programs: YAML with positions, references, errors that say where.

The door of this package. `load_text` gives plain data and the position of every
node; `overlay` lays values from elsewhere (the environment) over it; `read` makes a
pydantic model of it (`expand` resolves references, `validate` checks) or tells each
mistake in one line, `config.yaml:3:3 server.prot: unknown key (did you mean 'port'?)`.

Above: `bridge.settings` and `gateway.settings`, which know the models and what a
section means. Below: ruamel.yaml's composer and pydantic. A value is never
printed, because it may be a secret.
"""

from bridge.configuration.document import Document, Path, load_text, overlay
from bridge.configuration.problems import ConfigurationError, Place, Problem, RefusedForSafety
from bridge.configuration.reading import read
from bridge.configuration.references import References, expand
from bridge.configuration.validation import validate

__all__ = [
    "ConfigurationError",
    "Document",
    "Path",
    "Place",
    "Problem",
    "References",
    "RefusedForSafety",
    "expand",
    "load_file",
    "load_text",
    "overlay",
    "read",
    "validate",
]


def load_file(path: str) -> Document:
    """The document in the file `path`. Raises ConfigurationError where it can't be read or isn't YAML."""
    from pathlib import Path as FilePath

    place = Place(path)
    try:
        data = FilePath(path).expanduser().read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # RuntimeError: a home that nobody has
        reason = getattr(error, "strerror", None) or "cannot be read"
        raise ConfigurationError([Problem(place, "", reason.lower())]) from None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - (data.rfind(b"\n", 0, error.start) + 1) + 1
        raise ConfigurationError([Problem(Place(path, line, column), "", "this is not UTF-8 text")]) from None
    return load_text(text, path)

"""YAML text to plain data, with the place of every node.

Only what a configuration needs is understood: mappings, lists, texts, numbers,
booleans and null of YAML 1.2, anchors and merge keys within limits. Tags, duplicate
keys, several documents, keys that are not texts and anything that grows beyond
reason are refused with their place. No value is ever constructed by a tag.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from bridge.configuration.problems import ConfigurationError, Place, Problem, dotted

Path: TypeAlias = tuple[str | int, ...]

MAX_TEXT_BYTES = 1_048_576
MAX_NODES = 20_000
"""After aliases are followed: a few lines can't become millions of values."""
MAX_DEPTH = 32
_CORE = "tag:yaml.org,2002:"


@dataclass(slots=True)
class Document:
    """Plain data and where it stood.

    `places` has the place of each value by its path; `keys` the place of each key.
    """

    source: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Path, Place] = field(default_factory=dict)
    keys: dict[Path, Place] = field(default_factory=dict)

    def place(self, path: Path, *, key: bool = False) -> Place:
        """Where `path` stands, or the nearest thing around it."""
        tables = (self.keys, self.places) if key else (self.places, self.keys)
        for length in range(len(path), -1, -1):
            for table in tables:
                found = table.get(path[:length])
                if found is not None:
                    return found
        return Place(self.source)

    def get(self, path: Path) -> Any:
        """The value at `path`, or None."""
        value: Any = self.data
        for part in path:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value


def load_text(text: str, source: str) -> Document:
    """The document in `text`; an empty one has no data. Raises ConfigurationError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise ConfigurationError([Problem(Place(source), "", f"larger than {MAX_TEXT_BYTES} bytes")])
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(source, mark.line + 1, mark.column + 1) if mark else Place(source)
        raise ConfigurationError([Problem(place, "", _syntax(error))]) from None
    except YAMLError as error:
        raise ConfigurationError([Problem(Place(source), "", _character(error))]) from None
    except (RecursionError, ValueError):
        raise ConfigurationError([Problem(Place(source), "", "not YAML that can be read")]) from None
    document = Document(source)
    if root is None:
        return document
    builder = _Builder(document)
    data = builder.build(root, ())
    if data is not None and not isinstance(data, dict):
        builder.problems.append(Problem(document.place(()), "", "the file must be a mapping (key: value)"))
    if builder.problems:
        raise ConfigurationError(builder.problems)
    document.data = data or {}
    return document


def _syntax(error: Any) -> str:
    """The parser's words without anything quoted from the file, which may be a secret."""
    problem = str(error.problem or error.context or "")
    if "undefined alias" in problem:
        return "an alias (*name) that is not defined; quote a text that begins with *"
    if "duplicate anchor" in problem:
        return "an anchor (&name) that is defined twice; quote a text that begins with &"
    if "tag" in problem:
        return "a tag that is not defined; quote a text that begins with !"
    if "could not find expected" in problem:
        return "not YAML: is a ':' or a quote missing?"
    if "found character" in problem and "\\t" in problem:
        return "not YAML: a tab; indent with spaces"
    if "mapping values are not allowed" in problem:
        return "not YAML: ': ' inside a text; quote it, or mend the indentation"
    if "expected a single document" in str(error.context):
        return "only one YAML document is allowed"
    if "expected <block end>" in problem:
        return "not YAML: the indentation does not fit"
    if "while scanning a quoted scalar" in str(error.context):
        return "not YAML: a quote is not closed"
    return "not YAML: a bracket, a comma or a quote is missing or too many"


def _character(error: Any) -> str:
    position = getattr(error, "position", None)
    return "a character that is not allowed in YAML" + (f" (at {position})" if position is not None else "")


class _Builder:
    """Turns composed nodes into data, remembering places and collecting problems."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self._nodes = 0

    def build(self, node: Any, path: Path) -> Any:
        place = Place(self.document.source, node.start_mark.line + 1, node.start_mark.column + 1)
        self.document.places[path] = place
        self._nodes += 1
        if self._nodes > MAX_NODES or len(path) > MAX_DEPTH:
            raise ConfigurationError([Problem(place, "", "nested too deeply, or too many values")])
        kind = type(node).__name__
        if kind == "MappingNode" and node.tag == _CORE + "map":
            return self._mapping(node, path)
        if kind == "SequenceNode" and node.tag == _CORE + "seq":
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        if kind == "ScalarNode":
            return self._scalar(node, path, place)
        self._problem(place, path, "tags (!…) are not allowed; quote a text that begins with !")
        return None

    def _mapping(self, node: Any, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key_node, value_node in node.value:
            place = Place(self.document.source, key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            if key_node.tag == _CORE + "merge":
                merged = {**self._merge(value_node, path), **merged}
                continue
            if type(key_node).__name__ != "ScalarNode" or not str(key_node.tag).startswith(_CORE):
                self._problem(place, path, "a key must be a text")
                continue
            key = str(key_node.value)
            where = (*path, key)
            if key in result:
                self._problem(place, where, "duplicate key")
                continue
            self.document.keys[where] = place
            result[key] = self.build(value_node, where)
        return {**merged, **result} if merged else result

    def _merge(self, node: Any, path: Path) -> dict[str, Any]:
        nodes = node.value if type(node).__name__ == "SequenceNode" else [node]
        result: dict[str, Any] = {}
        for part in nodes:
            value = self.build(part, path)
            if isinstance(value, dict):
                result = {**value, **result}
            else:
                self._problem(self.document.places[path], path, "<< needs a mapping")
        return result

    def _scalar(self, node: Any, path: Path, place: Place) -> Any:
        tag, text = str(node.tag), str(node.value)
        if tag in (_CORE + "str", _CORE + "timestamp"):
            return text
        if tag == _CORE + "null":
            return None
        if tag == _CORE + "bool":
            return text.lower() == "true"
        if tag == _CORE + "int":
            return self._number(text, place, path, integer=True)
        if tag == _CORE + "float":
            return self._number(text, place, path, integer=False)
        self._problem(place, path, "tags (!…) are not allowed; quote a text that begins with !")
        return None

    def _number(self, text: str, place: Place, path: Path, *, integer: bool) -> int | float | None:
        plain = text.replace("_", "")
        try:
            value: int | float = int(plain, 0 if plain.lstrip("+-")[:2].lower() in ("0x", "0o", "0b") else 10)
        except ValueError:
            try:
                value = math.nan if integer else float(plain)
            except ValueError:
                value = math.nan
        if not math.isfinite(value) or len(plain) > 400:
            self._problem(place, path, "not a number that can be used; quote it if it is a text")
            return None
        return value

    def _problem(self, place: Place, path: Path, message: str) -> None:
        self.problems.append(Problem(place, dotted(path), message))


def overlay(document: Document, path: Path, value: Any, place: Place) -> None:
    """Lay `value` over the document at `path`, as if it had stood at `place`.

    Raises ConfigurationError where the way there leads through something that has no keys.
    """
    target: Any = document.data
    for depth, part in enumerate(path[:-1], start=1):
        if isinstance(target, list):
            target = _item(target, part, path, place)
        else:
            if not isinstance(target.get(part), dict | list):
                target[part] = {}
                document.places[path[:depth]] = place
            target = target[part]
    if isinstance(target, list):
        index = _index(target, path[-1], path, place)
        target[index : index + 1] = [value]
        path = (*path[:-1], index)
    else:
        target[path[-1]] = value
    for table in (document.places, document.keys):
        for known in [p for p in table if p[: len(path)] == path]:
            del table[known]
    document.places[path] = place
    document.keys[path] = place
    if isinstance(value, Mapping | list):
        _cover(document, path, value, place)


def _cover(document: Document, path: Path, value: Any, place: Place) -> None:
    for key, child in value.items() if isinstance(value, Mapping) else enumerate(value):
        document.places[(*path, key)] = place
        document.keys[(*path, key)] = place
        if isinstance(child, Mapping | list):
            _cover(document, (*path, key), child, place)


def _index(target: list[Any], part: str | int, path: Path, place: Place) -> int:
    text = str(part)
    if text.isascii() and text.isdigit() and int(text) <= len(target):
        return int(text)
    raise ConfigurationError([Problem(place, dotted(path), f"a number from 0 to {len(target)} belongs there")])


def _item(target: list[Any], part: str | int, path: Path, place: Place) -> Any:
    index = _index(target, part, path, place)
    if index == len(target):
        target.append({})
    if not isinstance(target[index], dict | list):
        target[index] = {}
    return target[index]

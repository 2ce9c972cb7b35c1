"""Plain data to a pydantic model, each mistake with its place and a hint, and never its value."""

import difflib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeAlias, TypeVar

from pydantic import BaseModel, SecretStr, ValidationError

from bridge.configuration.document import Document, Path
from bridge.configuration.problems import ConfigurationError, Problem, dotted

Model = TypeVar("Model", bound=BaseModel)
Locate: TypeAlias = Callable[[Any, Path], Path]
"""From a place in the models to the place in the person's document, where the two differ."""

_WORDS = {
    "missing": "missing",
    "string_type": "must be a text",
    "string_too_short": "too short",
    "string_too_long": "too long",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "frozen_set_type": "must be a list",
    "dict_type": "must be a mapping (key: value)",
    "mapping_type": "must be a mapping (key: value)",
    "model_type": "must be a mapping (key: value)",
    "model_attributes_type": "must be a mapping (key: value)",
}


def as_written(_data: Any, location: Path) -> Path:
    """The general rule: the document is as the models are."""
    return location


def validate(
    document: Document, model: type[Model], *, kept: Mapping[Path, Path] | None = None, locate: Locate = as_written,
    unknown: Collection[Path] = (),
) -> Model:  # fmt: skip
    """`document.data` as a `model`. Raises ConfigurationError with every mistake.

    `kept` has the references that were left in sections that are off, each with its section:
    where one is not valid as it stands, its section is left out. A section whose entries are
    all commented out (null) counts as not there. What stands at the `unknown` paths is not
    what is meant: what may be wrong because of it is not told.
    """
    _drop_empty(document.data, model)
    remaining = dict(kept or {})
    while True:
        try:
            result = model.model_validate(document.data)
        except ValidationError as error:
            details: list[Any] = list(error.errors(include_url=False, include_input=False))
            for detail in details:
                detail["loc"] = locate(document.data, tuple(detail["loc"]))
            details = [detail for detail in details if not _doubtful(document, detail, unknown)]
            off = {section for detail in details for section in _off(detail["loc"], remaining)}
            real = [detail for detail in details if not _off(detail["loc"], remaining)]
            if real or not off:
                raise ConfigurationError(_problems(document, model, real)) from None
            for section in off:
                _remove(document, section)
            remaining = {path: section for path, section in remaining.items() if section not in off}
            continue
        wrong = list(_booleans(document, document.data, result, ()))
        if wrong:
            raise ConfigurationError(wrong)
        return result


def _off(location: Path, kept: Mapping[Path, Path]) -> set[Path]:
    """The sections that are off to whose kept references an error at `location` may be due."""
    return {
        section
        for path, section in kept.items()
        if location[: len(section)] == section and (path[: len(location)] == location or location[: len(path)] == path)
    }


def _doubtful(document: Document, detail: Any, unknown: Collection[Path]) -> bool:
    """Whether a mistake may be due to what is not known. A key that nobody knows is wrong whatever stands there."""
    place = _in_data(document, detail["loc"])
    return detail["type"] != "extra_forbidden" and any(
        path[: len(place)] == place or place[: len(path)] == path for path in unknown
    )


def _drop_empty(data: Any, annotation: Any) -> None:
    if isinstance(data, dict):
        for key in list(data):
            inner = _step(annotation, key)
            sections = [each for each in inner if _is_section(each)]
            if data[key] is None and sections and type(None) not in inner:
                del data[key]
            elif len(sections) == 1:
                _drop_empty(data[key], sections[0])


def _is_section(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return origin in (list, dict, tuple) or (isinstance(annotation, type) and issubclass(annotation, BaseModel))


def _remove(document: Document, path: Path) -> None:
    parent = document.get(path[:-1])
    if isinstance(parent, dict):
        parent.pop(path[-1], None)
    elif isinstance(parent, list) and isinstance(path[-1], int):
        del parent[path[-1]]


def _problems(document: Document, model: type[BaseModel], details: Iterable[Any]) -> list[Problem]:
    seen: dict[tuple[str, str], Problem] = {}
    for detail in details:
        path = _in_data(document, tuple(detail["loc"]))
        kind = detail["type"]
        problem = Problem(
            document.place(path, key=kind == "extra_forbidden"),
            dotted(path),
            _message(document, model, path, kind, detail),
        )
        seen.setdefault((problem.path, problem.message), problem)
    return list(seen.values())


def _in_data(document: Document, location: Path) -> Path:
    """`location` without the names of union branches that pydantic puts in."""
    path: Path = ()
    for index, part in enumerate(location):
        value = document.get(path)
        known = (
            (isinstance(value, dict) and part in value)
            or (isinstance(value, list) and isinstance(part, int) and part < len(value))
            or (index == len(location) - 1 and isinstance(value, dict))
        )
        if known:
            path = (*path, part)
    return path


def _message(document: Document, model: type[BaseModel], path: Path, kind: str, detail: Any) -> str:
    value = document.get(path)
    context = detail.get("ctx", {})
    if kind == "extra_forbidden":
        return "unknown key" + _suggestion(str(path[-1]), _keys_at(model, path[:-1]))
    if kind == "string_type" and isinstance(value, int | float):
        return "must be a text: quote it"
    if kind == "literal_error":
        message = f"must be one of {context.get('expected', '')}"
        allowed = [word.strip("' ") for word in str(context.get("expected", "")).replace(" or ", ",").split(",")]
        return message + (_suggestion(value, allowed) if isinstance(value, str) and len(value) <= 32 else "")
    if kind == "value_error":
        return str(context.get("error") or "not valid")
    if kind in _WORDS:
        word = _WORDS[kind]
        collection = "a list" in word or "a mapping" in word
        return word + (" (in the environment: as JSON)" if collection and _from_text(document, path) else "")
    bounds = {"greater_than": ">", "greater_than_equal": "≥", "less_than": "<", "less_than_equal": "≤"}
    if kind in bounds:
        return f"must be {bounds[kind]} {next(iter(context.values()), '')}"
    text = str(detail["msg"]).removeprefix("Input should be").strip()
    return f"must be {text}" if text != str(detail["msg"]) else text[:1].lower() + text[1:]


def _from_text(document: Document, path: Path) -> bool:
    return document.place(path).line is None and isinstance(document.get(path), str)


def _suggestion(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" (did you mean '{close[0]}'?)" if close and close[0] != word else ""


def _keys_at(model: Any, path: Path) -> list[str]:
    """The keys that may stand at `path`, by the annotations of the models on the way."""
    models = [model]
    for part in path:
        following: list[Any] = []
        for each in models:
            following += _step(each, part)
        models = following
    keys: list[str] = []
    for each in models:
        if isinstance(each, type) and issubclass(each, BaseModel):
            keys += [field.alias or name for name, field in each.model_fields.items()]
    return keys


def _step(annotation: Any, part: str | int) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            if part in (name, field.alias):
                return _unfold(field.annotation)
        return []
    arguments = typing.get_args(annotation)
    origin = typing.get_origin(annotation)
    if origin in (list, tuple, set, frozenset):  # by index, or by name where a map is taken for a list
        return _unfold(arguments[0])
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return _unfold(arguments[1])
    return []


def _unfold(annotation: Any) -> list[Any]:
    """The alternatives of a union, without `Annotated`."""
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _unfold(typing.get_args(annotation)[0])
    if origin in (typing.Union, types.UnionType):
        return [inner for part in typing.get_args(annotation) for inner in _unfold(part)]
    return [annotation]


def _booleans(document: Document, data: Any, value: Any, path: Path) -> Iterable[Problem]:
    """Pydantic takes `true` for the number 1; a person who writes it made a mistake."""
    if isinstance(data, bool):
        if not isinstance(value, bool) and isinstance(value, int | float):
            yield Problem(document.place(path), dotted(path), "must be a number")
    elif isinstance(data, dict):
        for key, child in data.items():
            inner = value.get(key) if isinstance(value, Mapping) else getattr(value, str(key), None)
            if not isinstance(inner, SecretStr):
                yield from _booleans(document, child, inner, (*path, key))
    elif isinstance(data, list) and isinstance(value, list | tuple) and len(data) == len(value):
        for index, (child, inner) in enumerate(zip(data, value, strict=True)):
            yield from _booleans(document, child, inner, (*path, index))

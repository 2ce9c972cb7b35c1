"""Arguments against JSON Schemas, with `jsonschema`. Imported late, and as a whole: it is the one door to the package.

Above it is `schema.py`, which words what is wrong. Two threads that enter a package by different doors at once
(`import jsonschema` in one, `from jsonschema.exceptions import …` in another) each find the other's half of it
imported, and Python gives both an ImportError. Through a module of our own they wait for each other.

Schemas are strangers' and the check runs on the event loop: whatever one says, it costs a moment at most.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import orjson
from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, ValidationError, relevance
from referencing import Registry
from referencing.exceptions import Unresolvable

from bus.events import JsonObject

MAX_KEPT = 512
CHECK_SECONDS = 0.05
"""Of this thread's work. A hundred times what an honest schema needs; of `allOf` in `allOf` there is no end."""
_UNCHECKED = ("pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties")
"""Regular expressions, one of which may backtrack for ever; and what follows references past the clock."""
_kept: OrderedDict[int, tuple[JsonObject, Any]] = OrderedDict()
_Keyword = Callable[..., Iterator[Any] | None]


class _Patience(threading.local):
    """Until when the check of this thread may go on, on the clock of its work."""

    until = 0.0


class _TooLong(Exception):
    """The check took more time than a check is worth."""


_patience = _Patience()


def errors_of(schema: JsonObject, arguments: JsonObject) -> list[Any]:
    """jsonschema's ValidationErrors, the most relevant first.

    A schema that is itself broken, or that points elsewhere, finds nothing, and one that takes too long what it found
    so far: the server has the last word.
    """
    _patience.until = time.thread_time() + CHECK_SECONDS
    errors: list[Any] = []
    try:
        with suppress(_TooLong):
            for error in _validator(schema).iter_errors(arguments):
                errors.append(error)
                _go_on()
        return sorted(errors, key=relevance, reverse=True)
    except (SchemaError, Unresolvable, RecursionError, TypeError, ValueError, AttributeError, KeyError):
        return []


def _go_on() -> None:
    """Raises _TooLong."""
    if time.thread_time() > _patience.until:
        raise _TooLong


def _validator(schema: JsonObject) -> Any:
    found = _kept.get(id(schema))
    if found is not None and found[0] is schema:
        return found[1]
    base = validators.validator_for(schema, default=Draft202012Validator)
    gentle: Any = validators.extend(base, _gentle(base.VALIDATORS))  # type: ignore[no-untyped-call] # jsonschema leaves it unannotated
    # Its own looks at each part for a `$schema`, and where there is one goes on with a class that is not this one.
    gentle.evolve = _evolved
    validator = gentle(schema, registry=Registry())
    _kept[id(schema)] = (schema, validator)
    if len(_kept) > MAX_KEPT:
        _kept.popitem(last=False)
    return validator


def _evolved(validator: Any, **changes: Any) -> Any:
    """The same class for a part of the schema; jsonschema itself changes these two and nothing else.

    It does so for each item of a list, also where the part has no keyword that would look at the clock.
    """
    _go_on()
    kept = {"schema": validator.schema, "_resolver": validator._resolver, "registry": validator._registry}
    return type(validator)(**kept | changes)


def _gentle(keywords: dict[str, Any]) -> dict[str, _Keyword]:
    """The keywords with an end."""
    own: dict[str, _Keyword] = dict.fromkeys(_UNCHECKED, _unchecked) | {"uniqueItems": _unique}
    own["additionalProperties"] = _additional(keywords["additionalProperties"])
    return {name: _timed(own.get(name, keyword)) for name, keyword in keywords.items()}


def _timed(keyword: _Keyword) -> _Keyword:
    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        _go_on()
        return keyword(validator, value, instance, schema)

    return checked


def _additional(keyword: _Keyword) -> _Keyword:
    def checked(validator: Any, value: Any, instance: Any, schema: Any) -> Iterator[Any] | None:
        if isinstance(schema, dict) and "patternProperties" in schema:
            return None  # what is additional is told by those regular expressions
        return keyword(validator, value, instance, schema)

    return checked


def _unchecked(*_: Any) -> None:
    return None


def _unique(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
    """jsonschema compares each with each where none can be sorted. 1 and 1.0 are two here: the server knows better."""
    if wanted and isinstance(instance, list):
        written = {orjson.dumps(item, option=orjson.OPT_SORT_KEYS) for item in instance}
        if len(written) < len(instance):
            yield ValidationError("the elements are not all different")

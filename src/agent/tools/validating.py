"""Arguments against JSON Schemas, with `jsonschema`. Imported late, and as a whole: it is the one door to the package.

Above it is `schema.py`, which words what is wrong. Two threads that enter a package by different doors at once
(`import jsonschema` in one, `from jsonschema.exceptions import …` in another) each find the other's half of it
imported, and Python gives both an ImportError. Through a module of our own they wait for each other.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, relevance
from referencing import Registry
from referencing.exceptions import Unresolvable

from bus.events import JsonObject

MAX_KEPT = 512
STEPS = 10_000
"""Keywords that are looked at for one set of arguments, a tenth of a second's work. Schemas are a stranger's: a small
one may refer to itself two to the thirty times, and the house has other guests."""
_UNIQUE_ITEMS = 100
"""Items are compared with each other, so beyond that not at all."""
_MESSAGE_CHARS = 1_000
"""An error's message holds the value that is wrong: each so many characters of it count as a step."""
_UNCHECKED = ("pattern", "patternProperties", "unevaluatedItems", "unevaluatedProperties")
"""Regular expressions, one of which may backtrack for ever; and what follows references without counting them."""
_kept: OrderedDict[int, tuple[JsonObject, Any]] = OrderedDict()


class _Budget(threading.local):
    """One for each thread that checks."""

    left = 0
    size = 0
    """Of all arguments together, in characters."""


_budget = _Budget()


class _Enough(Exception):
    """What was found so far has to do."""


def errors_of(schema: JsonObject, arguments: JsonObject) -> list[Any]:
    """jsonschema's ValidationErrors, the most relevant first; at most what `STEPS` steps find.

    A schema that is itself broken, or that points elsewhere, finds nothing: the server has the last word.
    """
    _budget.left, _budget.size = STEPS, _size(arguments)
    errors: list[Any] = []
    try:
        for error in _validator(schema).iter_errors(arguments):
            errors.append(error)
    except _Enough:
        pass
    except (SchemaError, Unresolvable, RecursionError, TypeError, ValueError, AttributeError, KeyError):
        return []
    return sorted(errors, key=relevance, reverse=True)


def _validator(schema: JsonObject) -> Any:
    found = _kept.get(id(schema))
    if found is not None and found[0] is schema:
        return found[1]
    base = validators.validator_for(schema, default=Draft202012Validator)
    keywords = {name: _counted(name, keyword) for name, keyword in base.VALIDATORS.items()}
    keywords |= dict.fromkeys(_UNCHECKED, _unchecked)
    gentle: Any = validators.extend(base, keywords)  # type: ignore[no-untyped-call] # jsonschema leaves it unannotated
    validator = gentle(schema, registry=Registry())
    _kept[id(schema)] = (schema, validator)
    if len(_kept) > MAX_KEPT:
        _kept.popitem(last=False)
    return validator


def _counted(name: str, keyword: Callable[..., Any]) -> Callable[..., Any]:
    """The same keyword, as a step."""

    def step(validator: Any, value: Any, instance: Any, schema: Any) -> Any:
        cost = 1
        if isinstance(instance, str):
            cost += len(instance) // _MESSAGE_CHARS
        elif isinstance(instance, dict | list):
            cost += _budget.size // _MESSAGE_CHARS
        if name == "enum" and isinstance(value, list):
            cost += len(value) // 10
        _budget.left -= cost
        if _budget.left < 0:
            raise _Enough
        if name == "uniqueItems" and isinstance(instance, list) and len(instance) > _UNIQUE_ITEMS:
            return None
        if name == "additionalProperties" and isinstance(schema, dict) and "patternProperties" in schema:
            return None  # what is additional is told by those regular expressions
        return keyword(validator, value, instance, schema)

    return step


def _size(arguments: JsonObject) -> int:
    try:
        return len(repr(arguments))
    except RecursionError:
        return STEPS * _MESSAGE_CHARS


def _unchecked(*_: Any) -> None:
    return None

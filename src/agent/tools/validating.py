"""Arguments against JSON Schemas, with `jsonschema`. Imported late, and as a whole: it is the one door to the package.

Above it is `schema.py`, which words what is wrong. Two threads that enter a package by different doors at once
(`import jsonschema` in one, `from jsonschema.exceptions import …` in another) each find the other's half of it
imported, and Python gives both an ImportError. Through a module of our own they wait for each other.
"""

from collections import OrderedDict
from typing import Any

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import SchemaError, relevance
from referencing import Registry
from referencing.exceptions import Unresolvable

from bus.events import JsonObject

MAX_KEPT = 512
_kept: OrderedDict[int, tuple[JsonObject, Any]] = OrderedDict()


def errors_of(schema: JsonObject, arguments: JsonObject) -> list[Any]:
    """jsonschema's ValidationErrors, the most relevant first.

    A schema that is itself broken, or that points elsewhere, finds nothing: the server has the last word.
    """
    try:
        return sorted(_validator(schema).iter_errors(arguments), key=relevance, reverse=True)
    except (SchemaError, Unresolvable, RecursionError, TypeError, ValueError, AttributeError, KeyError):
        return []


def _validator(schema: JsonObject) -> Any:
    found = _kept.get(id(schema))
    if found is not None and found[0] is schema:
        return found[1]
    base = validators.validator_for(schema, default=Draft202012Validator)
    # Patterns are regular expressions of a stranger: one that backtracks for ever would stop the house.
    without = {"pattern": _unchecked, "patternProperties": _unchecked}
    gentle: Any = validators.extend(base, without)  # type: ignore[no-untyped-call] # jsonschema leaves it unannotated
    validator = gentle(schema, registry=Registry())
    _kept[id(schema)] = (schema, validator)
    if len(_kept) > MAX_KEPT:
        _kept.popitem(last=False)
    return validator


def _unchecked(*_: Any) -> None:
    return None

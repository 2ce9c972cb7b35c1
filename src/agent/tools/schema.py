"""Tools as a model is shown them, and its arguments checked against their schema.

Pure. `jsonschema` is imported with the first call. A schema that is itself broken
checks nothing: the tool's server will say what it thinks of the arguments.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import orjson

from agent.ports import ToolSpec
from bus.events import JsonObject

MAX_TOOLS = 128
DESCRIPTION_BYTES = 1024
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f\ufeff]|\x1b\\[[0-9;]*m"
)


def clean(text: str) -> str:
    """A description without escape codes, control and invisible characters, at most 1 KB of UTF-8."""
    shown = _HIDDEN.sub("", re.sub("\x1b\\[[0-9;]*[A-Za-z]", "", text))
    return shown.encode("utf-8", "replace")[:DESCRIPTION_BYTES].decode("utf-8", "ignore")


def to_model_tools(specs: Sequence[ToolSpec]) -> list[JsonObject]:
    """Chat Completions tools: the available ones that are not denied, at most 128."""
    usable = [spec for spec in specs if spec.available and spec.policy != "deny"]
    return [
        {
            "type": "function",
            "function": {
                "name": spec.name,
                "description": clean(spec.description),
                "parameters": spec.input_schema or {"type": "object", "properties": {}},
            },
        }
        for spec in usable[:MAX_TOOLS]
    ]


def problem_with(arguments: Any, schema: JsonObject) -> str | None:
    """What is wrong with `arguments`, in words that a model can act on; None where nothing is."""
    if not isinstance(arguments, dict):
        return "the arguments must be a JSON object"
    if not schema or schema == {"type": "object"}:
        return None
    validator = _validator(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS))
    if validator is None:
        return None
    from jsonschema.exceptions import best_match

    try:
        error = best_match(validator.iter_errors(arguments))
    except Exception:  # a schema with a reference that leads nowhere, or outside: it can't be checked here
        return None
    if error is None:
        return None
    where = ".".join(str(step) for step in error.absolute_path) or "the arguments"
    return f"{where}: {error.message[:500]}"


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    from jsonschema.exceptions import SchemaError
    from jsonschema.validators import validator_for
    from referencing import Registry

    value = orjson.loads(schema)
    cls = validator_for(value)
    try:
        cls.check_schema(value)
    except SchemaError:
        return None
    return cls(value, registry=Registry())  # an empty registry: no schema is ever fetched from elsewhere

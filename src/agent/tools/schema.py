"""Tools as the model is shown them, and its arguments checked before anything happens.

Above it `executor.py` and `registry.py`. Descriptions and schemas come from servers and are data: they are cleaned
and cut before a model sees them. `jsonschema` is imported when the first arguments are checked. Nothing is ever
fetched: a remote `$ref` cannot be resolved, and the server then checks for itself.
"""

import re
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import orjson

from agent.ports.tools import ToolSpec
from bus.events import JsonObject
from bus.json_integers import loads_exactly

MAX_TOOLS = 128
MAX_DESCRIPTION_BYTES = 1_024
MAX_SCHEMA_BYTES = 16_384
MAX_ARGUMENT_BYTES = 1_048_576
MAX_PROBLEMS = 5

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\-_])")
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)


def clean(text: str, most_bytes: int = MAX_DESCRIPTION_BYTES) -> str:
    """Without ANSI sequences, control, zero-width, bidi and tag characters, cut at `most_bytes` of UTF-8."""
    text = text[: most_bytes * 4]
    text = _INVISIBLE.sub("", _ANSI.sub("", text))
    data = text.encode()
    return text if len(data) <= most_bytes else data[: most_bytes - 3].decode("utf-8", "ignore") + "…"


# ---------------------------------------------------------------- what the model is shown

_shown: OrderedDict[int, tuple[ToolSpec, JsonObject]] = OrderedDict()
"""Specs seldom change: the clean form of each is kept with it. The spec is held, so its id stays its own."""


def for_model(specs: Sequence[ToolSpec], most: int = MAX_TOOLS) -> list[JsonObject]:
    """Chat Completions tools, in the order of `specs`: those at hand and not denied, at most `most`."""
    out: list[JsonObject] = []
    for spec in specs:
        if len(out) == most:
            break
        if spec.available and spec.policy != "deny" and _NAME.match(spec.name):
            out.append(_form(spec))
    return out


def _form(spec: ToolSpec) -> JsonObject:
    found = _shown.get(id(spec))
    if found is not None and found[0] is spec:
        return found[1]
    form = {
        "type": "function",
        "function": {
            "name": spec.name,
            "description": clean(spec.description),
            "parameters": _parameters(spec.input_schema),
        },
    }
    _shown[id(spec)] = (spec, form)
    if len(_shown) > 4 * MAX_TOOLS:
        _shown.popitem(last=False)
    return form


def _parameters(schema: Any) -> JsonObject:
    """A schema that providers take: an object, clean texts, of a bounded size."""
    if not isinstance(schema, dict):
        schema = {}
    try:
        tidy = _tidy(schema, 0)
        fits = len(orjson.dumps(tidy)) <= MAX_SCHEMA_BYTES
    except (TypeError, ValueError, RecursionError):
        fits = False
    if not fits:
        return {"type": "object", "properties": {}, "additionalProperties": True}
    assert isinstance(tidy, dict)
    tidy.pop("$schema", None)
    if tidy.get("type") != "object":
        tidy = {**tidy, "type": "object"}
    tidy.setdefault("properties", {})
    return tidy


def _tidy(value: Any, depth: int) -> Any:
    if depth > 64:
        raise ValueError("too deep")
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {clean(str(name), 256): _tidy(member, depth + 1) for name, member in value.items()}
    if isinstance(value, list):
        return [_tidy(member, depth + 1) for member in value]
    return value


# ---------------------------------------------------------------- what the model wrote


class BadArguments(Exception):
    """Arguments that cannot be used; the text tells the model how to do better."""


def parse_arguments(text: str) -> JsonObject:
    """The arguments as an object. Raises BadArguments."""
    if len(text) > MAX_ARGUMENT_BYTES:
        raise BadArguments(f"The arguments are longer than {MAX_ARGUMENT_BYTES} bytes. Send less at once.")
    if not text.strip():
        return {}
    try:
        data = text.encode()
        if len(data) > MAX_ARGUMENT_BYTES:
            raise BadArguments(f"The arguments are longer than {MAX_ARGUMENT_BYTES} bytes. Send less at once.")
        found = loads_exactly(data)
    except ValueError as error:
        reason = str(error) if isinstance(error, orjson.JSONDecodeError) else "not valid Unicode"
        raise BadArguments(f"The arguments are not valid JSON ({reason}). Send one complete JSON object.") from None
    if not isinstance(found, dict):
        raise BadArguments("The arguments must be one JSON object, such as {}.")
    return found


def check(schema: JsonObject, arguments: JsonObject) -> None:
    """Whether `arguments` fit `schema`. Raises BadArguments naming each place and what is expected there."""
    from agent.tools.validating import errors_of  # the one door to `jsonschema`, see there

    errors = errors_of(schema, arguments)
    if errors:
        told = [_problem(error) for error in errors[:MAX_PROBLEMS]]
        more = f" And {len(errors) - MAX_PROBLEMS} more." if len(errors) > MAX_PROBLEMS else ""
        raise BadArguments("The arguments do not fit the tool's schema: " + "; ".join(told) + "." + more)


def _problem(error: Any) -> str:
    place = "/".join(str(step) for step in error.absolute_path)
    message = str(error.message)
    if len(message) > 200:
        message = f"has to satisfy {error.validator}: {str(error.validator_value)[:120]}"
    return clean(f"at “{place}”: {message}" if place else message, 400)

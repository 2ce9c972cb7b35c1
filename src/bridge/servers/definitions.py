"""What a server says about its tools, resources and prompts, checked one by one. Pure.

One malformed definition never hides the good ones: it is put aside with a reason. Texts are data of a stranger:
characters that hide or disguise text are taken out, and what a model gets to read is cut.
"""

import hashlib
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from bridge.servers.jsonrpc import JsonObject

MAX_DESCRIPTION = 1024
_MAX_FULL_TEXT = 64 * 1024
_MAX_DEFINITION = 256 * 1024
_MAX_NAME = 256
_MAX_DEPTH = 64


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool by its own name. `description` is cut for a model; `full_description` is for a person who decides.

    `fingerprint` changes with anything a caller relies on: description, schema, annotations.
    """

    name: str
    description: str
    full_description: str
    input_schema: JsonObject
    annotations: JsonObject | None
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that was left out, and why."""

    what: str
    reason: str


def read_tools(items: Sequence[Any]) -> tuple[list[ToolDefinition], list[Problem]]:
    """The good ones, the first of each name, in their order; and what was wrong with the others."""
    tools: dict[str, ToolDefinition] = {}
    problems: list[Problem] = []
    for number, item in enumerate(items):
        try:
            tool = _tool(item)
        except ValueError as error:
            name = item.get("name") if isinstance(item, dict) else None
            problems.append(Problem(f"tool {clean(str(name))[:80] if name else f'number {number + 1}'}", str(error)))
            continue
        if tool.name in tools:
            problems.append(Problem(f"tool {tool.name[:80]}", "named twice"))
        else:
            tools[tool.name] = tool
    return list(tools.values()), problems


def _tool(item: Any) -> ToolDefinition:
    if not isinstance(item, dict):
        raise ValueError("not an object")
    name, description = item.get("name"), item.get("description")
    schema, annotations = item.get("inputSchema"), item.get("annotations")
    if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME:
        raise ValueError("the name is missing or too long")
    if description is not None and not isinstance(description, str):
        raise ValueError("the description is not text")
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise ValueError("inputSchema is not the schema of an object")
    schema = {key: value for key, value in schema.items() if value is not None}  # as Go writes what is absent
    required = schema.get("required", [])
    if not isinstance(schema.get("properties", {}), dict) or not isinstance(required, list):
        raise ValueError("inputSchema is not the schema of an object")
    if not all(isinstance(each, str) for each in required):
        raise ValueError("inputSchema names what is required in no text")
    if annotations is not None and not isinstance(annotations, dict):
        raise ValueError("annotations are not an object")
    # only what is relied on counts: a server may put a date into `_meta` each time it lists
    counted = {"d": description, "s": schema, "a": annotations, "o": item.get("outputSchema")}
    _check(counted, _MAX_DEPTH + 1)
    try:
        relied = orjson.dumps(counted, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        raise ValueError("it can't be written as JSON") from None
    if len(orjson.dumps(schema)) > _MAX_DEFINITION:
        raise ValueError(f"inputSchema is larger than {_MAX_DEFINITION // 1024} KiB")
    full = clean((description or "")[: 2 * _MAX_FULL_TEXT])[:_MAX_FULL_TEXT]
    return ToolDefinition(
        name, cut(full, MAX_DESCRIPTION), full, _clean_schema({"type": "object", **schema}), annotations,
        hashlib.sha256(relied).hexdigest(),
    )  # fmt: skip


def read_listed(items: Sequence[Any], *keys: str) -> tuple[list[JsonObject], list[Problem]]:
    """Resources or prompts: objects that have at least one of `keys` as text."""
    good: list[JsonObject] = []
    problems: list[Problem] = []
    for number, item in enumerate(items):
        if not isinstance(item, dict) or not any(isinstance(item.get(key), str) and item[key] for key in keys):
            problems.append(Problem(f"{keys[0]} number {number + 1}", f"no '{keys[0]}'"))
            continue
        try:
            orjson.dumps(item)
        except TypeError:
            problems.append(Problem(f"{keys[0]} number {number + 1}", "it can't be written as JSON"))
            continue
        if isinstance(item.get("description"), str):
            item = {**item, "description": cut(clean(item["description"]), MAX_DESCRIPTION)}
        good.append(item)
    return good, problems


def clean(text: str) -> str:
    """Without escape sequences, control and format characters (zero width, direction, tags), which only hide things."""
    if not any(map(_hidden, set(text))):
        return text
    kept = []
    escaped = False
    for character in text:
        if escaped:  # the body of an ANSI sequence: up to its final letter
            escaped = not ("@" <= character <= "~") or character in "[]"
            continue
        if character == "\x1b":
            escaped = True
        elif not _hidden(character):
            kept.append(character)
    return "".join(kept)


def one_line(text: str) -> str:
    """What a server says of itself, clean and cut, for logs and terminals."""
    return cut(" ".join(clean(text[:2000]).split()), 500)


def _hidden(character: str) -> bool:
    return character not in "\n\t" and unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn")


def cut(text: str, size: int) -> str:
    """At most `size` UTF-8 bytes, whole characters, with a mark where something is missing."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= size else data[: size - 3].decode("utf-8", "ignore") + "…"


def _clean_schema(value: Any) -> Any:
    """The schema with its texts for the model cleaned; names, constants and patterns stay as they are."""
    if isinstance(value, dict):
        return {
            key: cut(clean(inner[: 4 * MAX_DESCRIPTION]), MAX_DESCRIPTION)
            if key in ("description", "title", "$comment") and isinstance(inner, str)
            else _clean_schema(inner)
            for key, inner in value.items()
        }
    return [_clean_schema(inner) for inner in value] if isinstance(value, list) else value


def _check(value: Any, levels: int) -> None:
    """Raises ValueError for what is nested too deeply, and for numbers that would leave as `null`."""
    if isinstance(value, dict | list):
        if levels == 0:
            raise ValueError("it is nested too deeply")
        for part in value.values() if isinstance(value, dict) else value:
            _check(part, levels - 1)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError("it holds NaN or Infinity, which JSON does not have")

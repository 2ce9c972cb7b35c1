"""The forms in which other programs write MCP servers, brought into ours. Pure.

Below `settings.py` and `importer.py`. Claude Desktop, Claude Code, Cursor and Windsurf write a map under
`mcpServers`, VS Code under `servers` (or `mcp.servers` in its settings); the entries differ in a few names.
Whatever is not known here stays, so that the strict models name it as a mistake.
"""

from collections.abc import Mapping, Sequence
from typing import Any

SERVER_KEYS = ("mcp_servers", "mcpServers", "servers")

_RENAMED = {"serverUrl": "url", "httpUrl": "url", "workingDirectory": "cwd", "maxInFlight": "max_in_flight"}
_TRANSPORTS = {
    "stdio": "stdio", "local": "stdio",
    "http": "http", "streamable-http": "http", "streamableHttp": "http", "streamable_http": "http", "remote": "http",
    "sse": "sse",
}  # fmt: skip
_IGNORED = frozenset({
    "autoApprove", "alwaysAllow", "autoStart", "description", "dev", "gallery", "icon", "label", "oauth",
    "metadata", "disabledTools", "enabledTools", "trust", "$schema",
})  # fmt: skip
"""What other programs note for themselves. Their "always allow" lists are not taken over: here nothing was allowed."""


def normalise_entry(name: str, entry: Any) -> Any:
    """One entry of a map as an entry of our list. Values that aren't a map come back as they are."""
    if not isinstance(entry, Mapping):
        return entry
    result: dict[str, Any] = {"name": name}
    for key, value in entry.items():
        if key in _IGNORED:
            continue
        if key == "type":
            result["transport"] = _TRANSPORTS.get(value, value) if isinstance(value, str) else value
        elif key == "disabled":
            result["enabled"] = not value if isinstance(value, bool) else value
        else:
            result[_RENAMED.get(str(key), str(key))] = value
    return result


def normalise_servers(value: Any) -> Any:
    """A list of entries from a list, a map, or a document that holds one under a key of its own.

    Raises ValueError for anything else. None is an empty list: a key whose entries are all commented out.
    """
    if value is None:
        return []
    if isinstance(value, Mapping):
        inner = _inner(value)
        if inner is not None:
            return normalise_servers(inner[1])
        return [_named(name, normalise_entry(str(name), entry)) for name, entry in value.items()]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_listed(entry) for entry in value]
    raise ValueError("a list of servers, or a map from name to server, is expected")


def _named(name: Any, entry: Any) -> Any:
    if not isinstance(entry, Mapping) and not hasattr(entry, "model_dump"):
        raise ValueError(f"server '{name}': a map with 'command' or 'url' is expected")
    return entry


def _listed(entry: Any) -> Any:
    """Entries of a list are ours and strict; only `type` and `disabled`, which everybody copies, are understood."""
    if isinstance(entry, Mapping) and "name" in entry and ("type" in entry or "disabled" in entry):
        rest = {key: value for key, value in entry.items() if key in ("type", "disabled")}
        taken = normalise_entry(str(entry["name"]), rest)
        return {**{key: value for key, value in entry.items() if key not in rest}, **taken}
    return entry


def _inner(value: Mapping[Any, Any]) -> tuple[tuple[str, ...], Any] | None:
    """The servers of a whole document of another program, with the keys that lead there."""
    for key in SERVER_KEYS:
        inner = value.get(key)
        if isinstance(inner, Mapping | list) and not (isinstance(inner, Mapping) and _is_entry(inner)):
            return (key,), inner
    inner = value.get("mcp")
    if isinstance(inner, Mapping) and isinstance(inner.get("servers"), Mapping) and not _is_entry(inner):
        return ("mcp", "servers"), inner["servers"]
    return None


def _is_entry(value: Mapping[Any, Any]) -> bool:
    """Whether this is a server by itself (one that happens to be called `servers`)."""
    return isinstance(value.get("command"), str) or isinstance(value.get("url"), str)


def server_location(document: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """The place in `document` of the member at `location` of the normalised list (see `settings.source_location`)."""
    prefix: tuple[int | str, ...] = ()
    rest = location
    node = document
    if rest and rest[0] == "mcp_servers" and isinstance(document, Mapping):
        key = next((key for key in SERVER_KEYS if key in document), None)
        if key is None:
            return location
        prefix, node, rest = (key,), document[key], rest[1:]
    if not rest or not isinstance(rest[0], int):
        return (*prefix, *rest)
    while isinstance(node, Mapping) and (inner := _inner(node)) is not None:
        prefix, node = (*prefix, *inner[0]), inner[1]
    if isinstance(node, Mapping):
        names = list(node)
        if rest[0] >= len(names):
            return prefix
        prefix, entry = (*prefix, names[rest[0]]), node[names[rest[0]]]
    else:
        prefix, entry = (
            (*prefix, rest[0]),
            node[rest[0]] if isinstance(node, Sequence) and rest[0] < len(node) else None,
        )
    return (*prefix, *_written(entry, rest[1:]))


def _written(entry: Any, rest: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Within one entry: the name that the person used for a member."""
    if not rest or not isinstance(entry, Mapping) or rest[0] in entry:
        return rest
    for old, new in {**_RENAMED, "type": "transport", "disabled": "enabled"}.items():
        if new == rest[0] and old in entry:
            return (old, *rest[1:])
    return rest

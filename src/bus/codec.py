"""The public form of an event, as clients see it: without a key's scope, without the origin.

It knows no transport: how a notification is framed is the gateway's.
"""

from dataclasses import fields
from typing import Any

from bus.events import Event, JsonObject, MediaRef, Usage
from bus.keys import SessionKey

_HIDDEN = frozenset({"session", "origin", "user", "at"})
_OPTIONAL = frozenset({"seq", "from_seq", "media", "total", "message", "where", "tool_calls", "retry_after_ms",
                       "trace_id", "usage", "agent", "reason", "title"})  # fmt: skip
_NAMES: dict[type, tuple[str, ...]] = {}


def params(event: Event) -> JsonObject:
    """The public form: `params` of the JSON-RPC notification `event`. Absent values are left out."""
    cls = type(event)
    names = _NAMES.get(cls)
    if names is None:
        names = _NAMES[cls] = tuple(f.name for f in fields(cls) if f.name not in _HIDDEN and f.name != "type")
    out: JsonObject = {"type": event.type}
    session = getattr(event, "session", None)
    if session is not None:
        out["session_key"] = session.text
    for name in names:
        value = getattr(event, name)
        if name in _OPTIONAL and (value is None or value == () or (value == "" and name != "message")):
            continue
        if name == "message_id" and session is None:
            continue
        out[name] = _plain(value)
    return out


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, MediaRef | Usage):
        return {f.name: getattr(value, f.name) for f in fields(value) if getattr(value, f.name) is not None}
    if isinstance(value, SessionKey):
        return value.text
    return value

"""Events and messages to versioned JSON and back: for NATS, Redis and files alike.

`params` gives the public form of an event, as clients see it; `dumps` and `loads`
give the internal, versioned form, which also keeps what clients never see (the
scope of a key, the origin). Validation happens here, at the border of a process.
"""

from dataclasses import fields
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from bus.errors import BadParameters
from bus.events import Event, InboundMessage, JsonObject, MediaRef, Usage
from bus.keys import SessionKey

VERSION = 1

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="type")])
_MESSAGE: TypeAdapter[InboundMessage] = TypeAdapter(InboundMessage)
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


def dumps(item: Event | InboundMessage) -> bytes:
    """The internal form: JSON with the version first."""
    if isinstance(item, InboundMessage):
        return b'{"v":%d,"kind":"message","body":%s}' % (VERSION, _MESSAGE.dump_json(item))
    return b'{"v":%d,"kind":"event","body":%s}' % (VERSION, _EVENT.dump_json(item))


class _Envelope:
    adapter: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


def loads(data: bytes) -> Event | InboundMessage:
    """The inverse of `dumps`; unknown fields are ignored. Raises BadParameters."""
    try:
        envelope = _Envelope.adapter.validate_json(data)
        if envelope.get("v") != VERSION:
            raise BadParameters(f"unknown version {envelope.get('v')!r} of the bus's format")
        if envelope.get("kind") == "message":
            return _MESSAGE.validate_python(envelope["body"])
        return _EVENT.validate_python(envelope["body"])
    except (ValueError, KeyError) as error:
        raise BadParameters(f"not an event of this bus: {type(error).__name__}") from error

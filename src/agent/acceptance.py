"""An inbound message as a record of the log, and back again.

Pure. Above is `acceptor.py`. What is kept is all that the turn needs to go on after a
restart: the actor with role and scopes as they were when the message was accepted.
"""

import hashlib
from typing import Any

from agent.ports.sessions import Record, SessionHead
from bus.context import timestamp
from bus.errors import BadParameters
from bus.events import Actor, ChatMessage, InboundMessage, JsonObject, MediaRef, TurnOptions
from bus.keys import KeyKind, SessionKey, take_apart


def content_hash(message: InboundMessage) -> str:
    """What must be equal for two messages under one idempotency key to be the same."""
    parts = [message.session.identity, message.text, *(ref.media_id for ref in message.media)]
    try:
        return hashlib.sha256("\x00".join(parts).encode()).hexdigest()[:32]
    except UnicodeEncodeError as error:
        raise BadParameters("the text is not valid Unicode (a lone surrogate)") from error


def to_data(message: InboundMessage, digest: str) -> JsonObject:
    """The members of the `message` record."""
    actor = message.actor
    data: JsonObject = {
        "message_id": message.message_id,
        "role": "user",
        "text": message.text,
        "channel": actor.channel,
        "actor": {
            "user": actor.user,
            "role": actor.role,
            "scopes": sorted(actor.scopes),
            "channel": actor.channel,
            "identity": actor.identity,
            "language": actor.language,
        },
        "wants_reply": message.wants_reply,
        "content_hash": digest,
        "received_at": message.received_at,
    }
    if message.media:
        data["media"] = [_media(ref) for ref in message.media]
    for name in ("idempotency_key", "replaces", "reply_to", "trace_id"):
        value = getattr(message, name)
        if value:
            data[name] = value
    if message.metadata:
        data["metadata"] = dict(message.metadata)
    if message.options is not None:
        options = message.options
        data["options"] = {
            "history": list(options.history),
            "tools": list(options.tools),
            "model": options.model,
            "mode": options.mode,
            "parameters": options.parameters,
        }
    return data


def _media(ref: MediaRef) -> JsonObject:
    return {"media_id": ref.media_id, "mime": ref.mime, "name": ref.name, "size": ref.size}


def actor_of(data: JsonObject) -> Actor:
    """The actor kept in a `message` record."""
    kept: dict[str, Any] = data.get("actor") or {}
    return Actor(
        user=kept.get("user", ""),
        role=kept.get("role", "user"),
        scopes=frozenset(kept.get("scopes") or ()),
        channel=kept.get("channel", "websocket"),
        identity=kept.get("identity", ""),
        language=kept.get("language", "en"),
    )


def from_record(key: SessionKey, record: Record) -> InboundMessage:
    """The message that was accepted, as far as its turn needs it."""
    data = record.data
    kept = data.get("options")
    options = None
    if kept:
        options = TurnOptions(
            history=tuple(kept.get("history") or ()),
            tools=tuple(kept.get("tools") or ()),
            model=kept.get("model"),
            mode=kept.get("mode"),
            parameters=kept.get("parameters") or {},
        )
    return InboundMessage(
        session=key,
        actor=actor_of(data),
        text=data.get("text") or "",
        message_id=data["message_id"],
        received_at=float(data.get("received_at") or 0.0),
        media=tuple(MediaRef(**ref) for ref in data.get("media") or ()),
        idempotency_key=data.get("idempotency_key"),
        replaces=data.get("replaces"),
        reply_to=data.get("reply_to"),
        options=options,
        trace_id=data.get("trace_id") or "",
        metadata=data.get("metadata") or {},
    )


def new_head(message: InboundMessage, platforms: frozenset[str]) -> SessionHead:
    """The first line of the session that `message` begins."""
    key, now = message.session, timestamp(message.received_at)
    parts = take_apart(key.text, platforms)
    private = bool(key.scope) or parts.kind is KeyKind.PRIVATE
    return SessionHead(
        key=key,
        agent_id="main" if private else parts.agent_id,
        channel=message.actor.channel if private else parts.channel,
        peer_id=message.actor.user if private else parts.peer,
        owner="" if parts.kind is KeyKind.GROUP and not private else message.actor.user,
        created_at=now,
        updated_at=now,
        title=title_of(message.text),
        listed=not message.ephemeral,
    )


def title_of(text: str) -> str:
    """A title until the person gives one: the first words of the first message."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text[:400]).split())
    return line if len(line) <= 60 else line[:59].rstrip() + "…"


def announcement(message: InboundMessage, seq: int) -> ChatMessage:
    """The event that tells a session's other readers of an accepted message."""
    return ChatMessage(
        session=message.session, message_id=message.message_id, seq=seq, role="user", text=message.text,
        channel=message.actor.channel, media=message.media, origin=message.origin,
    )  # fmt: skip

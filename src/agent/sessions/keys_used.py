"""Which idempotency keys a session's records used, and for what."""

from collections.abc import Iterable

from agent.ports.sessions import Duplicate, Record
from agent.sessions.index import Used
from agent.sessions.records import MESSAGE
from bus.context import parse_timestamp
from bus.keys import SessionKey


def keys_used(session: SessionKey, records: Iterable[Record]) -> tuple[Used, ...]:
    """The keys of the messages among `records`; scoped to the user who spoke."""
    out = []
    for record in records:
        key = record.data.get("idempotency_key") if record.type == MESSAGE else None
        if not key:
            continue
        what = Duplicate(
            message_id=str(record.data.get("message_id", "")), session=session, seq=record.seq,
            content_hash=str(record.data.get("content_hash") or ""),
        )  # fmt: skip
        out.append(Used(str((record.data.get("actor") or {}).get("user", "")), str(key), what, _moment(record)))
    return tuple(out)


def _moment(record: Record) -> float:
    """Seconds since the epoch."""
    received = record.data.get("received_at")
    if isinstance(received, int | float):
        return float(received)
    try:
        return parse_timestamp(record.timestamp)
    except ValueError:
        return 0.0

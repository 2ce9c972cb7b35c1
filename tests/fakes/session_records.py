"""Records of a session's log, made short for tests."""

from typing import Any

from agent.ports.sessions import Record, SessionHead
from bus.context import timestamp
from bus.keys import SessionKey, default_key

NOW = 1_770_000_000.0


def moment(seq: int = 0) -> str:
    return timestamp(NOW + seq)


def head_of(key: SessionKey, owner: str = "alice", **more: Any) -> SessionHead:
    values: dict[str, Any] = {"agent_id": "main", "channel": "websocket", "peer_id": owner, "created_at": moment()}
    return SessionHead(key=key, owner=owner, **{**values, **more})


def said(seq: int, text: str = "hello", *, message_id: str = "", user: str = "alice", **more: Any) -> Record:
    data = {"message_id": message_id or f"m{seq}", "role": "user", "text": text, "channel": "websocket",
            "actor": {"user": user}, "wants_reply": True, "content_hash": f"hash of {text}", "received_at": NOW + seq,
            **more}  # fmt: skip
    return Record(seq, "message", moment(seq), data)


def started(seq: int, message_id: str, reserved: int, attempt: int = 1) -> Record:
    data = {"message_id": message_id, "attempt": attempt, "mode": "single", "model": "demo", "reserved": reserved}
    return Record(seq, "turn.started", moment(seq), data)


def calling(
    seq: int, message_id: str, calls: list[str], text: str = "", *, first: bool = True, call: int = 0
) -> Record:  # fmt: skip
    """`tool.started` of `calls[call]`; the first of a round carries the round."""
    data: dict[str, Any] = {"message_id": message_id, "call_id": calls[call], "name": "clock", "arguments": {}}
    if first:
        data["round"] = {"text": text, "usage": {},
                         "calls": [{"call_id": one, "name": "clock", "arguments": "{}"} for one in calls]}  # fmt: skip
    return Record(seq, "tool.started", moment(seq), data)


def called(seq: int, message_id: str, call_id: str, text: str = "noon") -> Record:
    data = {"message_id": message_id, "call_id": call_id, "name": "clock", "is_error": False, "duration_ms": 1,
            "content": [{"type": "text", "text": text}]}  # fmt: skip
    return Record(seq, "tool.finished", moment(seq), data)


def answered(seq: int, message_id: str, text: str = "hi there", **more: Any) -> Record:
    data = {"message_id": message_id, "role": "assistant", "text": text, "finish_reason": "stop", "usage": {}, **more}
    return Record(seq, "chat.done", moment(seq), data)


def failed(seq: int, message_id: str, partial: str = "") -> Record:
    data: dict[str, Any] = {"message_id": message_id, "code": 1009, "message": "stopped", "retryable": False}
    if partial:
        data["partial"] = partial
    return Record(seq, "chat.error", moment(seq), data)


def updated(seq: int, **changes: Any) -> Record:
    return Record(seq, "session.updated", moment(seq), changes)


def mark(seq: int) -> Record:
    return Record(seq, "seq.mark", moment(seq), {})


def key_of(user: str = "alice") -> SessionKey:
    return default_key(user)

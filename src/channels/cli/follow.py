"""What a reader of one session has seen: events in, each at most once. Pure.

`seq` counts per session one by one. After a drop the gateway replays what came after
`last_seq`; what was seen already is left out here, whatever the network repeats.
"""

from dataclasses import dataclass
from typing import Any

Event = dict[str, Any]
TERMINAL = ("chat.done", "chat.error")


def failure(event: Event) -> str:
    """A `chat.error` in one line, with the trace id that the operator can look for."""
    trace = event.get("trace_id")
    return f"{event.get('message')} ({event.get('code')}{', trace ' + str(trace) if trace else ''})"


@dataclass(slots=True)
class Follower:
    """What was seen of the session so far."""

    last_seq: int = 0

    def take(self, event: Event) -> Event | None:
        """The event if it is news, else None. A merged delta that overlaps with it is left out."""
        seq = event.get("seq")
        if isinstance(seq, int):
            if seq <= self.last_seq:
                return None
            if event["type"] == "chat.delta" and event.get("from_seq", seq) <= self.last_seq:
                self.last_seq = seq
                return None  # part of it is known and where it joins isn't: the final text brings the rest
            self.last_seq = seq
        return event


def from_history(messages: list[Event], message_id: str, session_key: str) -> Event | None:
    """A `chat.done` made of the history, where the events of the turn are no longer kept; None while it goes on."""
    texts = [
        str(message.get("text") or "")
        for message in messages
        if message.get("message_id") == message_id and message.get("role") == "assistant"
    ]
    if not texts or _open(messages, message_id):
        return None
    text = "\n\n".join(part for part in texts if part)
    return {
        "type": "chat.done", "session_key": session_key, "message_id": message_id, "text": text,
        "finish_reason": "stop", "usage": {},
    }  # fmt: skip


def _open(messages: list[Event], message_id: str) -> bool:
    """Whether the last thing known of the turn is a tool call: then it goes on."""
    last = [message for message in messages if message.get("message_id") == message_id][-1]
    return last.get("role") == "tool" or bool(last.get("tool_calls"))

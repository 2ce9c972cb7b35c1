"""Events cross a border and come back the same; clients see only what is theirs."""

import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus import codec, events
from bus.errors import BadParameters
from bus.keys import SessionKey

KEY = SessionKey("talk", "alice")
SAMPLES: list[Any] = [
    events.ChatMessage(session=KEY, message_id="m", seq=1, role="user", text="hi", channel="cli", origin="c1"),
    events.ChatStarted(session=KEY, message_id="m", seq=2, mode="single", model="demo", attempt=1),
    events.ChatDelta(KEY, "m", 5, "abc", 3),
    events.ToolStarted(session=KEY, message_id="m", seq=6, call_id="c", name="clock", arguments={"a": [1]}),
    events.ToolProgress(session=KEY, message_id="m", seq=7, call_id="c", progress=0.5),
    events.ToolFinished(session=KEY, message_id="m", seq=8, call_id="c", is_error=False, duration_ms=3, preview="x"),
    events.ApprovalRequested(approval_id="a", call_id="c", tool="t", arguments={}, risk="r", expires_at="z", user="u"),
    events.ChatDone(session=KEY, message_id="m", seq=9, text="abc", finish_reason="stop", usage=events.Usage()),
    events.ChatError(session=KEY, message_id="m", seq=9, code=1004, message="late", retryable=True),
    events.BridgeConnected(user="u", bridge_id="b", name="laptop", tools=3),
]


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_there_and_back(event: Any) -> None:
    assert codec.loads(codec.dumps(event)) == event


@given(st.text(), st.text(min_size=1, max_size=20))
def test_messages_there_and_back(text: str, name: str) -> None:
    message = events.InboundMessage(
        session=KEY, actor=events.Actor(user="alice", scopes=frozenset({"chat"})), text=text, message_id="m",
        received_at=time.time(), media=(events.MediaRef(media_id="x", mime="a/b", name=name, size=1),),
        options=events.TurnOptions(history=({"role": "user", "content": text},)), metadata={"k": "v"},
    )  # fmt: skip
    try:
        text.encode(), name.encode()
    except UnicodeEncodeError:
        return
    assert codec.loads(codec.dumps(message)) == message


def test_clients_see_the_key_but_neither_scope_nor_origin() -> None:
    assert codec.params(SAMPLES[0]) == {
        "type": "chat.message", "session_key": "talk", "message_id": "m", "seq": 1, "role": "user", "text": "hi",
        "channel": "cli",
    }  # fmt: skip
    assert codec.params(SAMPLES[2])["from_seq"] == 3
    assert codec.params(events.ChatDelta(KEY, "m", 5, "abc")) == {
        "type": "chat.delta", "session_key": "talk", "message_id": "m", "seq": 5, "delta": "abc",
    }  # fmt: skip
    assert codec.params(SAMPLES[7])["usage"]["total_tokens"] == 0
    approval = codec.params(SAMPLES[6])
    assert "session_key" not in approval and "seq" not in approval and "message_id" not in approval
    assert codec.params(SAMPLES[9]) == {"type": "bridge.connected", "bridge_id": "b", "name": "laptop", "tools": 3}


@pytest.mark.parametrize("data", [b"", b"[]", b'{"v":2}', b'{"v":1,"kind":"event","body":{"type":"x"}}', b"\xff"])
def test_what_is_not_ours_is_refused(data: bytes) -> None:
    with pytest.raises(BadParameters):
        codec.loads(data)

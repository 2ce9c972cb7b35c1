"""Clients see only what is theirs."""

from bus import codec, events
from bus.keys import SessionKey

KEY = SessionKey("talk", "alice")


def test_clients_see_the_key_but_neither_scope_nor_origin() -> None:
    message = events.ChatMessage(session=KEY, message_id="m", seq=1, role="user", text="hi", channel="cli", origin="c1")
    assert codec.params(message) == {
        "type": "chat.message", "session_key": "talk", "message_id": "m", "seq": 1, "role": "user", "text": "hi",
        "channel": "cli",
    }  # fmt: skip


def test_a_delta_says_where_it_begins_if_it_is_several() -> None:
    assert codec.params(events.ChatDelta(KEY, "m", 5, "abc", 3))["from_seq"] == 3
    assert codec.params(events.ChatDelta(KEY, "m", 5, "abc")) == {
        "type": "chat.delta", "session_key": "talk", "message_id": "m", "seq": 5, "delta": "abc",
    }  # fmt: skip


def test_usage_is_an_object_of_numbers() -> None:
    done = events.ChatDone(session=KEY, message_id="m", seq=9, text="abc", finish_reason="stop", usage=events.Usage())
    assert codec.params(done)["usage"]["total_tokens"] == 0


def test_what_belongs_to_no_session_names_none() -> None:
    asked = codec.params(
        events.ApprovalRequested(
            approval_id="a", call_id="c", tool="t", arguments={}, risk="r", expires_at="z", user="u"
        )
    )
    assert {"session_key", "seq", "message_id", "user"}.isdisjoint(asked)
    assert codec.params(events.BridgeConnected(user="u", bridge_id="b", name="laptop", tools=3)) == {
        "type": "bridge.connected", "bridge_id": "b", "name": "laptop", "tools": 3,
    }  # fmt: skip

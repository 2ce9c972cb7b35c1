"""What a session key names, and for whom."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bus.errors import BadParameters
from bus.keys import KeyKind, SessionKey, default_key, direct_key, group_key, parse_key, take_apart, user_id

PLATFORMS = frozenset({"telegram", "discord", "feishu"})


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("agent:main:websocket:direct:alice", "agent:main:websocket:direct:alice"),
        ("agent:main:websocket:alice", "agent:main:websocket:direct:alice"),
        ("websocket:alice", "agent:main:websocket:direct:alice"),
        ("telegram:42", "agent:main:telegram:direct:42"),
        ("telegram:42:42", "agent:main:telegram:direct:42"),
        ("telegram:42:-100", "agent:main:telegram:group:-100"),
        ("agent:other:telegram:group:-100:topic:7", "agent:other:telegram:group:-100:topic:7"),
        ("agent:main:discord:group:1:thread:2", "agent:main:discord:group:1:thread:2"),
    ],
)
def test_aliases_become_canonical(text: str, canonical: str) -> None:
    assert parse_key(text, "alice", PLATFORMS) == SessionKey(canonical)


@pytest.mark.parametrize(
    "text",
    ["notes", "my:notes", "a:b:c", "agent:main:irc:direct:x", "agent:main:websocket:group:x", "agent::websocket:x",
     "../../x", "CON", "x.", "-x", "日本語", "agent:main:telegram:group:1:topic:", "a b", "%2e%2e"],
)  # fmt: skip
def test_any_other_text_is_private_to_its_user(text: str) -> None:
    key = parse_key(text, "alice", PLATFORMS)
    assert key == SessionKey(text, "alice")
    assert key != parse_key(text, "bob", PLATFORMS)
    assert SessionKey.from_identity(key.identity) == key


@pytest.mark.attack(30)
@pytest.mark.parametrize("text", ["", "x" * 513, "a\x00b", "a\nb", "\u202eabc", "\ud800", "\u200b"])
def test_a_key_is_printable_and_not_too_long(text: str) -> None:
    with pytest.raises(BadParameters):
        parse_key(text, "alice", PLATFORMS)


def test_made_keys_are_of_the_grammar() -> None:
    assert take_apart(default_key("bob").text, PLATFORMS).kind is KeyKind.USER
    assert take_apart(direct_key("feishu", "ou_1").text, PLATFORMS).kind is KeyKind.PEER
    parts = take_apart(group_key("feishu", "oc_1", thread="t9").text, PLATFORMS)
    assert (parts.kind, parts.peer, parts.place) == (KeyKind.GROUP, "oc_1", "thread:t9")


@given(st.text(min_size=1, max_size=80), st.sampled_from(["alice", "bob"]))
def test_two_texts_are_one_session_only_if_they_mean_the_same(text: str, user: str) -> None:
    try:
        key = parse_key(text, user, PLATFORMS)
    except BadParameters:
        return
    assert parse_key(key.text, user, PLATFORMS) == key
    if key.scope:
        assert (key.text, key.scope) == (text, user)


@pytest.mark.parametrize("text", ["", "-a", "a" * 65, "a b", "ä", "a/b", "a:b", "a\n"])
def test_user_names(text: str) -> None:
    with pytest.raises(BadParameters):
        user_id(text)
    assert user_id("telegram-42") == "telegram-42"

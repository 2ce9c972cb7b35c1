"""The JSON-RPC core that listens to MCP servers: whatever they write, only a waiting id is answered, once."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import ToolResultInvalid
from bridge.servers.jsonrpc import LARGE, Answered, Asked, Invalid, Noise, Notified, Peer, Refused, Stray, encode

PYTHON = b'{"jsonrpc":"2.0","id":%d,"result":%s}'
NODE = b'{"result":%s,"jsonrpc":"2.0","id":%d}'


def one(peer: Peer, line: bytes) -> Any:
    (effect,) = peer.receive(line)
    return effect


@pytest.mark.parametrize("form", ["python", "node", "spaced"])
def test_a_result_keeps_its_bytes(form: str) -> None:
    peer = Peer()
    number = peer.mint()
    body = b'{"content":[{"type":"text","text":"a\\u00e4"}],"big":123456789012345678901234567890}'
    line = {
        "python": PYTHON % (number, body),
        "node": NODE % (body, number),
        "spaced": b'{ "id": %d, "jsonrpc": "2.0", "result": %s }' % (number, body),
    }[form]
    effect = one(peer, line)
    assert isinstance(effect, Answered)
    assert effect.id == number
    if form != "spaced":
        assert effect.reply.raw == body
    assert json.loads(effect.reply.json())["content"][0]["text"] == "aä"
    assert one(peer, line) == Stray(number)


def test_a_result_cannot_smuggle_members() -> None:
    """Twice the member `result` looks like one result to a slicer; it is not taken as bytes."""
    peer = Peer()
    number = peer.mint()
    effect = one(peer, b'{"result":{"a":1},"result":{"b":2},"jsonrpc":"2.0","id":%d}' % number)
    assert isinstance(effect, Answered)
    assert (effect.reply.raw, effect.reply.value) == (None, {"b": 2})


@pytest.mark.attack(45)
@pytest.mark.parametrize(
    "line",
    [
        b"", b"hello", b"\xff\xfe", b"[]", b"null", b"{}", b'{"jsonrpc":"1.0","id":1,"result":{}}', b"{" * 5000,
        b'{"jsonrpc":"2.0","method":7}', b'{"jsonrpc":"2.0","method":"x","id":null}',
        b'{"jsonrpc":"2.0","method":"x","params":[]}',
        b'{"jsonrpc":"2.0","method":"x","id":true}', b'{"jsonrpc":"2.0","method":"x","id":{}}',
    ],
)  # fmt: skip
def test_noise_leaves_the_call_waiting(line: bytes) -> None:
    peer = Peer()
    number = peer.mint()
    assert isinstance(one(peer, line), Noise)
    assert peer.waiting == {number}


@pytest.mark.attack(45)
@pytest.mark.parametrize("number", [b"2", b"1.0", b'"1"', b"true", b"null", b"[1]", b"99999999999999999999"])
def test_a_wrong_id_resolves_nothing(number: bytes) -> None:
    peer = Peer()
    waiting = peer.mint()
    assert isinstance(one(peer, b'{"jsonrpc":"2.0","id":%s,"result":{}}' % number), Stray)
    assert peer.waiting == {waiting}


@pytest.mark.attack(45)
@pytest.mark.parametrize(
    "body",
    [
        b'"result":{"x":NaN}', b'"result":{"x":Infinity}', b'"result":5', b'"result":null', b'"result":[1]', b'"x":1',
        b'"result":{},"error":{"code":1,"message":"x"}', b'"error":{}', b'"error":{"code":"1","message":"x"}',
        b'"error":null', b'"result":{"s":"\xff"}', b'"result":{"a":1',
    ],
)  # fmt: skip
def test_an_invalid_answer_fails_its_call_and_no_other(body: bytes) -> None:
    peer = Peer()
    first, second = peer.mint(), peer.mint()
    effect = one(peer, b'{"jsonrpc":"2.0","id":%d,%s}' % (first, body))
    assert isinstance(effect, Invalid)
    assert effect.id == first
    assert peer.waiting == {second}


def test_errors_requests_and_notifications() -> None:
    peer = Peer()
    number = peer.mint()
    assert one(
        peer, b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32602,"message":"no","data":[1]}}' % number
    ) == Refused(number, -32602, "no", [1])
    assert one(peer, b'{"jsonrpc":"2.0","id":"a","method":"ping"}') == Asked("a", "ping", {})
    assert one(peer, b'{"jsonrpc":"2.0","method":"n","params":{"a":1}}') == Notified("n", {"a": 1})


def test_a_batch_is_several() -> None:
    peer = Peer()
    number = peer.mint()
    effects = peer.receive(b'[{"jsonrpc":"2.0","id":%d,"result":{}},{"jsonrpc":"2.0","method":"n"},3]' % number)
    assert [type(effect) for effect in effects] == [Answered, Notified, Noise]


@pytest.mark.attack(45)
def test_a_line_above_the_cap_fails_the_call_it_answers() -> None:
    peer = Peer()
    first, second = peer.mint(), peer.mint()
    (effect,) = peer.too_long(b'{"jsonrpc":"2.0","id":%d,"result":{"x":"' % first, b'aaaa"}}', 10**9)
    assert isinstance(effect, Invalid)
    assert effect.id == first
    (effect,) = peer.too_long(b'{"result":{"id":1,', b'"},"jsonrpc":"2.0","id":%d}' % second, 10**9)
    assert isinstance(effect, Invalid)
    assert effect.id == second


@pytest.mark.attack(45)
def test_a_line_above_the_cap_without_an_id_fails_all_that_wait() -> None:
    peer = Peer()
    numbers = [peer.mint(), peer.mint()]
    assert [effect.id for effect in peer.too_long(b"xxxx", b"yyyy", 10**9) if isinstance(effect, Invalid)] == numbers
    assert isinstance(peer.too_long(b"xxxx", b"yyyy", 10**9)[0], Noise)


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(line: bytes) -> None:
    peer = Peer()
    peer.mint()
    peer.receive(line)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), JSON), st.booleans())
def test_any_result_arrives_as_it_was(result: dict[str, Any], node: bool) -> None:
    peer = Peer()
    number = peer.mint()
    body = orjson.dumps(result)
    effect = one(peer, NODE % (body, number) if node else PYTHON % (number, body))
    assert isinstance(effect, Answered)
    assert effect.reply.value == result
    assert effect.reply.raw == body


def test_what_json_cannot_carry_is_refused_before_it_is_sent() -> None:
    with pytest.raises(ValueError, match="not JSON"):
        encode({"a": object()})
    assert json.loads(encode({"a": 2**70})) == {"a": 2**70}


def test_a_large_result_is_read_by_who_wants_it() -> None:
    peer = Peer()
    number = peer.mint()
    body = b'{"content":[{"type":"text","text":"' + b"x" * LARGE + b'"}]}'
    (answered,) = peer.receive(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, body))
    assert isinstance(answered, Answered) and answered.reply.unread
    assert answered.reply.raw == body
    assert len(answered.reply.value["content"][0]["text"]) == LARGE
    assert not answered.reply.unread
    number = peer.mint()
    (answered,) = peer.receive(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, body.replace(b"text", b'te"xt')))
    assert isinstance(answered, Answered)
    with pytest.raises(ToolResultInvalid):
        _ = answered.reply.value
    number = peer.mint()
    (odd,) = peer.receive(b'{"jsonrpc":"2.0","id":%d,"result":%b}' % (number, body.replace(b"xx", b"\xff\xff")))
    assert isinstance(odd, Invalid)


@pytest.mark.attack(32)
@pytest.mark.parametrize(
    ("sent", "read"),
    [
        (rb"cut \ud83d", "cut \ufffd"), (rb"\uDE00x", "\ufffdx"), (rb"\ud83d\ud83d\ude00", "\ufffd\U0001f600"),
        (rb"\ude00\ud83d", "\ufffd\ufffd"), (rb"\\ud83d", "\\ud83d"), (rb"\\\ud83d", "\\\ufffd"),
        (rb"\ud83d\u0041", "\ufffdA"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [0, LARGE])
def test_half_a_character_costs_no_answer(sent: bytes, read: str, size: int) -> None:
    """As JavaScript writes texts that were cut within an emoji."""
    peer = Peer()
    number = peer.mint()
    filler = b"x" * size
    effect = one(peer, b'{"jsonrpc":"2.0","id":%d,"result":{"s":"%b","f":"%b"}}' % (number, sent, filler))
    assert isinstance(effect, Answered)
    assert orjson.loads(effect.reply.json()) == effect.reply.value == {"s": read, "f": filler.decode()}


@pytest.mark.parametrize("size", [0, LARGE])
@pytest.mark.parametrize("broken", [b'{"x":NaN}', b'{"x":-Infinity}', b'{"x":1e999}', b'"\xff"', b'"\xff\\ud83d",NaN'])
def test_a_listing_is_read_whatever_is_wrong_with_one_of_its_entries(broken: bytes, size: int) -> None:
    for after in (b"}", b',"more":1}'):
        peer = Peer()
        number = peer.mint(listing=True)
        line = b'{"jsonrpc":"2.0","id":%d,"result":{"tools":[%b,"good"],"f":"%b"}%b' % (
            number,
            broken,
            b"x" * size,
            after,
        )
        effect = one(peer, line)
        assert isinstance(effect, Answered)
        assert effect.reply.value["tools"][-1] == "good"
        assert not peer.waiting
        assert isinstance(one(peer, line), Noise | Stray)
    number = peer.mint(listing=True)
    assert isinstance(one(peer, b'{"jsonrpc":"2.0","id":%d,"result":{"tools":["good' % number), Invalid)


def test_a_line_that_is_nested_without_end_is_noise() -> None:
    peer = Peer()
    number = peer.mint()
    deep = b"[" * 100_000
    assert isinstance(one(peer, b'{"jsonrpc":"2.0","method":"n","params":{"a":' + deep), Noise)
    assert isinstance(one(peer, b'{"jsonrpc":"2.0","id":%d,"result":{"a":%b' % (number, deep)), Invalid)

"""The JSON-RPC core: the specification's own examples, what bad input gets, and properties."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import BY_CODE, BadParameters, RateLimited
from gateway import json_text, protocol
from gateway.protocol import Peer, Refusal, Request


def refusal(text: str | bytes) -> Refusal:
    found = Peer().receive(text)
    assert len(found.entries) == 1
    entry = found.entries[0]
    assert isinstance(entry, Refusal)
    return entry


@pytest.mark.attack(17)
@pytest.mark.parametrize(
    "text",
    [
        "", "{", '{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', "NaN", '{"a":NaN}', "[1e999]",
        "[" * 100_000, "1" * 5000, '{"id":' + "1" * 5000 + "}", "\ufeff{}", "{}{}", "'a'", '{"a":-Infinity}',
        '[\n{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},\n{"jsonrpc": "2.0", "method"\n]',
        '{"jsonrpc":"2.0","id":1,"method":"x","params":' + "[" * 2000 + "]" * 2000 + "}",
    ],
)  # fmt: skip
def test_what_is_not_json_is_a_parse_error_with_a_null_id(text: str) -> None:
    entry = refusal(text)
    assert (entry.id, entry.error.code) == (None, -32700)


@pytest.mark.attack(17)
def test_ten_parse_errors_in_a_row_close_the_connection_and_a_good_text_between_resets() -> None:
    peer = Peer()
    for _ in range(9):
        assert peer.receive("{").close is None
    assert peer.receive('{"jsonrpc":"2.0","method":"x"}').close is None
    closes = [peer.receive("{").close for _ in range(10)]
    assert closes == [None] * 9 + [4029]


@pytest.mark.attack(18)
@pytest.mark.parametrize(
    ("item", "request_id"),
    [
        ({"jsonrpc": "2.0", "method": 1, "params": "bar"}, None),
        ({"foo": "boo"}, None),
        (1, None), ("text", None), (None, None), (True, None),
        ({"jsonrpc": "1.0", "id": 4, "method": "health"}, 4),
        ({"id": 4, "method": "health"}, 4),
        ({"jsonrpc": 2.0, "id": 4, "method": "health"}, 4),
        ({"jsonrpc": "2.0", "id": 4}, 4),
        ({"jsonrpc": "2.0", "id": 4, "method": ""}, 4),
        ({"jsonrpc": "2.0", "id": 4, "method": "x", "params": "bar"}, 4),
        ({"jsonrpc": "2.0", "id": 4, "method": "x", "params": None}, 4),
    ],
)  # fmt: skip
def test_a_wrong_envelope_is_an_invalid_request(item: Any, request_id: Any) -> None:
    entry = refusal(json.dumps(item))
    assert (entry.id, entry.error.code) == (request_id, -32600)


@pytest.mark.attack(21)
@pytest.mark.parametrize("text", ["true", "false", "1.0", "1.5", "{}", "[]", '"' + "x" * 1_000_000 + '"', "1e2",
                                  '"\\ud800"', "123456789012345678901234567890"])  # fmt: skip
def test_an_illegal_id_is_refused_and_not_given_back(text: str) -> None:
    entry = refusal('{"jsonrpc":"2.0","method":"health","id":' + text + "}")
    assert (entry.id, entry.error.code) == (None, -32600)


@pytest.mark.attack(21)
def test_an_id_under_way_cannot_be_used_again_until_it_is_answered() -> None:
    peer = Peer()
    text = '{"jsonrpc":"2.0","method":"health","id":1}'
    assert isinstance(peer.receive(text).entries[0], Request)
    again = peer.receive(text).entries[0]
    assert isinstance(again, Refusal)
    assert again.error.code == -32600
    assert isinstance(peer.receive('{"jsonrpc":"2.0","method":"health","id":"1"}').entries[0], Request)
    peer.finished(1)
    assert isinstance(peer.receive(text).entries[0], Request)


def test_a_null_id_is_a_request_and_a_missing_one_a_notification() -> None:
    asked = Peer().receive('{"jsonrpc":"2.0","method":"x","id":null}').entries[0]
    told = Peer().receive('{"jsonrpc":"2.0","method":"x"}').entries[0]
    assert isinstance(asked, Request)
    assert isinstance(told, Request)
    assert (asked.wants_reply, told.wants_reply) == (True, False)


@pytest.mark.attack(19)
def test_batches_of_the_specification() -> None:
    peer = Peer()
    assert peer.receive("[]").batch is False
    one = peer.receive("[1]")
    assert one.batch
    assert [type(e) for e in one.entries] == [Refusal]
    assert len(peer.receive("[1,2,3]").entries) == 3
    mixed = peer.receive(
        '[{"jsonrpc":"2.0","method":"sum","params":[1,2,4],"id":"1"},'
        '{"jsonrpc":"2.0","method":"notify_hello","params":[7]},{"foo":"boo"},'
        '[{"jsonrpc":"2.0","method":"x","id":9}],{"jsonrpc":"2.0","method":"y","id":"1"}]'
    )
    kinds = [(type(e).__name__, e.id, e.wants_reply) for e in mixed.entries]
    assert kinds == [
        ("Request", "1", True), ("Request", None, False), ("Refusal", None, True), ("Refusal", None, True),
        ("Refusal", "1", True),
    ]  # fmt: skip


@pytest.mark.attack(19)
def test_a_batch_above_fifty_is_one_error() -> None:
    item = '{"jsonrpc":"2.0","method":"x"}'
    assert len(Peer().receive("[" + ",".join([item] * 50) + "]").entries) == 50
    entry = refusal("[" + ",".join([item] * 51) + "]")
    assert entry.error.code == -32600
    assert refusal("[" + ",".join([item] * 10_000) + "]").error.code == -32600


@pytest.mark.attack(20)
def test_of_duplicate_keys_the_last_wins() -> None:
    found = Peer().receive('{"jsonrpc":"2.0","method":"a","method":"b","id":1}').entries[0]
    assert isinstance(found, Request)
    assert found.method == "b"


@pytest.mark.attack(32)
def test_an_unpaired_surrogate_is_a_bad_parameter_with_its_id_and_spares_its_neighbours() -> None:
    found = Peer().receive(
        '[{"jsonrpc":"2.0","method":"chat.send","params":{"text":"\\ud800"},"id":5},'
        '{"jsonrpc":"2.0","method":"health","id":6}]'
    )
    bad, good = found.entries
    assert isinstance(bad, Refusal)
    assert (bad.id, bad.error.code) == (5, -32602)
    assert isinstance(good, Request)
    pair = Peer().receive('{"jsonrpc":"2.0","method":"m","params":{"text":"\\ud83d\\ude00"},"id":5}').entries[0]
    assert isinstance(pair, Request)
    assert pair.params == {"text": "😀"}


def test_params_nested_too_deeply_are_refused_with_the_id() -> None:
    deep = "[" * 101 + "]" * 101
    entry = refusal('{"jsonrpc":"2.0","method":"x","id":3,"params":{"a":' + deep + "}}")
    assert (entry.id, entry.error.code) == (3, -32602)


def test_every_public_code_has_a_status_and_a_bad_parameter_has_two_faces() -> None:
    assert set(BY_CODE) <= set(protocol.HTTP_STATUS)
    assert protocol.error_object(BadParameters("x"))["code"] == -32602
    assert protocol.http_error(BadParameters("x"))[1]["error"]["code"] == 1000
    limited = protocol.error_object(RateLimited("slow down", retry_after_ms=1500))
    assert limited["data"]["retryable"] is True
    assert limited["data"]["retry_after_ms"] == 1500


@pytest.mark.attack(22)
def test_an_unforeseen_error_shows_nothing_but_its_trace() -> None:
    shown = protocol.error_object(RuntimeError("/secret/path"))
    assert shown["code"] == -32603
    assert "secret" not in json.dumps(shown)
    assert len(shown["data"]["trace_id"]) == 32


def test_what_orjson_cannot_write_is_written_all_the_same() -> None:
    assert json.loads(json_text.dumps({"a": 1 << 80, "b": "\ud800"})) == {"a": 1 << 80, "b": "\ud800"}


JSON_VALUE = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2]) | JSON_VALUE, "method": st.just("health") | JSON_VALUE,
        "params": JSON_VALUE, "id": JSON_VALUE,
    },
)  # fmt: skip


@pytest.mark.attack(23)
@given(st.text() | st.binary())
@settings(max_examples=200, deadline=None)
def test_no_text_makes_the_core_raise(text: str | bytes) -> None:
    for entry in Peer().receive(text).entries:
        assert isinstance(entry, Request) or entry.error.code in (-32700, -32600, -32602)


@pytest.mark.attack(23)
@given(LIKELY | st.lists(LIKELY, max_size=6) | JSON_VALUE)
@settings(max_examples=300, deadline=None)
def test_each_object_is_a_request_exactly_when_the_specification_says_so(document: Any) -> None:
    found = Peer().receive(json.dumps(document))
    items = document if isinstance(document, list) and document else [document]
    assert len(found.entries) == len(items)
    seen: set[Any] = set()
    for item, entry in zip(items, found.entries, strict=True):
        legal = _legal(item) and not (isinstance(item.get("id"), int | str) and item["id"] in seen)
        assert isinstance(entry, Request) is legal
        if isinstance(entry, Request):
            assert entry.wants_reply is ("id" in item)
            seen.add(entry.id)
        orjson.dumps(protocol.failure(entry.id, RuntimeError()))


def _legal(item: Any) -> bool:
    if not isinstance(item, dict):
        return False
    wanted = item.get("id")
    return (
        item.get("jsonrpc") == "2.0"
        and isinstance(item.get("method"), str)
        and item["method"] != ""
        and isinstance(item.get("params", {}), dict | list)
        and (wanted is None or isinstance(wanted, str) or (isinstance(wanted, int) and not isinstance(wanted, bool)))
        and not (isinstance(wanted, int) and wanted >= 2**64)
    )

"""RFC 8785, the hash of arguments and the signature."""

import hashlib
import hmac
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.errors import BadParameters
from bridge.protocol.canonical import EMPTY_HASH, arguments_hash, canonical, decode_key, new_key, number, signature

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False).filter(lambda f: not (f.is_integer() and 2**53 <= abs(f) < 1e21))
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=20,
)


@given(JSON)
def test_what_is_read_back_is_the_same(value: Any) -> None:
    """Canonical text does not depend on the order of keys, nor on who read it before."""
    text = canonical(value)
    assert canonical(json.loads(text)) == text
    assert canonical(orjson.loads(text)) == text
    assert json.loads(text) == value or value != value


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), st.integers(0, 9), max_size=8))
def test_keys_are_sorted_by_utf_16(value: dict[str, int]) -> None:
    keys = list(json.loads(canonical(value)))
    assert keys == sorted(value, key=lambda key: key.encode("utf-16-be"))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        # RFC 8785, appendix B
        (0.0, "0"), (-0.0, "0"), (5e-324, "5e-324"), (1.7976931348623157e308, "1.7976931348623157e+308"),
        (9007199254740991.0, "9007199254740991"), (295147905179352830000.0, "295147905179352830000"),
        (9.999999999999997e22, "9.999999999999997e+22"), (1e23, "1e+23"), (0.000001, "0.000001"),
        (999999999999999700000.0, "999999999999999700000"), (1e21, "1e+21"), (333333333.3333332, "333333333.3333332"),
        (-0.0000033333333333333333, "-0.0000033333333333333333"), (1424953923781206.2, "1424953923781206.2"),
        (1e-7, "1e-7"), (100.0, "100"), (4.50, "4.5"), (2e-3, "0.002"),
    ],
)  # fmt: skip
def test_numbers_as_ecmascript_writes_them(value: float, text: str) -> None:
    assert number(value) == text


def test_the_example_of_the_rfc() -> None:
    value = json.loads(
        '{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],'
        '"string":"\\u20ac$\\u000F\\u000aA\'\\u0042\\u0022\\u005c\\\\\\"\\/","literals":[null,true,false]}'
    )
    assert canonical(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@pytest.mark.parametrize(
    "value",
    [2**53, -(2**53), 10**400, 2.0**60, float("nan"), float("inf"), {"a": [2**53]}, {1: 2}, {"a": {1, 2}}, "\ud800",
     {"\ud800": 1}],
    ids=lambda value: repr(value)[:12],
)  # fmt: skip
def test_what_would_not_arrive_the_same_is_refused(value: Any) -> None:
    with pytest.raises(BadParameters):
        canonical(value)


def test_nesting_is_bounded() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(BadParameters):
        canonical(deep)


def test_no_arguments_are_an_empty_object() -> None:
    assert arguments_hash(None) == arguments_hash({}) == EMPTY_HASH == hashlib.sha256(b"{}").hexdigest()


REQUEST = {"jsonrpc": "2.0", "id": "c1", "method": "tools/call", "params": {"name": "t", "arguments": {"b": 1.0}}}
CONTROL = {
    "deadline_ms": 5000, "idempotency_key": "k", "attempt": 1, "epoch": 7,
    "actor": {"user": "alice", "channel": "cli"}, "traceparent": "00-…", "server": "fs",
}  # fmt: skip


def test_the_signature_is_what_the_contract_says() -> None:
    key = bytes(range(32))
    text = (
        '{"actor":{"channel":"cli","user":"alice"},"arguments_sha256":"'
        + hashlib.sha256(b'{"b":1}').hexdigest()
        + '","attempt":1,"bridge_id":"b","deadline_ms":5000,"epoch":7,"id":"c1","idempotency_key":"k",'
        '"method":"tools/call","name":"t"}'
    )
    assert signature(key, "c1", "b", REQUEST, CONTROL) == hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


@pytest.mark.attack(39)
@pytest.mark.parametrize(
    "change",
    [
        {"deadline_ms": 5001}, {"idempotency_key": "k2"}, {"attempt": 2}, {"epoch": 8}, {"actor": {"user": "bob"}},
        {"confirm": {"challenge": "x", "decision": "allow_once"}}, {"answer": {"question_id": "q", "action": "accept"}},
    ],
)  # fmt: skip
def test_every_signed_member_counts(change: dict[str, Any]) -> None:
    key = bytes(32)
    assert signature(key, "c1", "b", REQUEST, CONTROL) != signature(key, "c1", "b", REQUEST, {**CONTROL, **change})
    other = {**REQUEST, "params": {"name": "t", "arguments": {"b": 2}}}
    assert signature(key, "c1", "b", REQUEST, CONTROL) != signature(key, "c1", "b", other, CONTROL)
    assert signature(key, "c1", "b", REQUEST, CONTROL) != signature(key, "c1", "other", REQUEST, CONTROL)


def test_keys_are_32_bytes() -> None:
    assert len(decode_key(new_key())) == 32 and new_key() != new_key() and "=" not in new_key()
    for text in ("", "abc", "é", "A" * 44):
        with pytest.raises(BadParameters):
            decode_key(text)

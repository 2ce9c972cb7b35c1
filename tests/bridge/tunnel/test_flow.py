"""Chunks and credits: everything arrives, never more under way than granted, calls take turns."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.errors import ToolResultInvalid
from bridge.protocol.flow import Assembler, Chunker, whole_characters
from bridge.protocol.frames import CHUNK_BYTES

CALL, CONNECTION = 400, 1000


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from("abcdefgh"), st.text(max_size=3000), min_size=1), st.randoms())
def test_all_arrives_within_the_credits(texts: dict[str, str], chance: "object") -> None:
    chunker, assembler = Chunker(CALL, CONNECTION), Assembler(100_000, CALL, CONNECTION)
    got: dict[str, str] = {}
    for call_id, text in texts.items():
        chunker.add(call_id, (text or "x").encode())
    for _ in range(100_000):
        frame = chunker.next()
        if frame is None:
            break
        chunk = json.loads(frame)
        payload = chunk["payload"]
        whole, windows = assembler.accept(chunk["id"], payload["n"], payload["last"], payload["data"])
        if whole is not None:
            got[chunk["id"]] = b"".join(whole).decode()
        for window in windows:
            granted = json.loads(window)
            chunker.grant(granted.get("id"), granted["payload"]["credit"])
    assert got == {call_id: text or "x" for call_id, text in texts.items()}
    assert len(chunker) == len(assembler) == 0


def test_pieces_that_come_twice_keep_their_credit_going() -> None:
    """Sent on credit like any other: six times the connection's window, and the answer still fits."""
    assembler = Assembler(100_000, CALL, CONNECTION)
    assembler.accept("a", 0, False, "x" * 100)
    mine, all_of_it = CALL - 100, CONNECTION - 100
    for _ in range(60):
        assert min(mine, all_of_it) >= 100
        mine, all_of_it = mine - 100, all_of_it - 100
        whole, windows = assembler.accept("a", 0, False, "x" * 100)
        assert whole is None
        for window in map(json.loads, windows):
            if "id" in window:
                mine += window["payload"]["credit"]
            else:
                all_of_it += window["payload"]["credit"]
    whole, _ = assembler.accept("a", 1, True, "end")
    assert whole == [b"x" * 100, b"end"]


@pytest.mark.attack(51)
@pytest.mark.parametrize("number", [0, None])
def test_pieces_without_end_that_bring_nothing_end_the_call(number: int | None) -> None:
    assembler = Assembler(100_000, CALL, CONNECTION)
    assembler.accept("a", 0, False, "x")
    with pytest.raises(ToolResultInvalid):
        for n in range(1, 1000):
            assembler.accept("a", n if number is None else number, False, "")
    assert len(assembler) == 0


def test_calls_take_turns() -> None:
    chunker = Chunker()
    for call_id in "abc":
        chunker.add(call_id, b"x" * 3 * CHUNK_BYTES)
    order = [json.loads(chunker.next() or b"")["id"] for _ in range(9)]
    assert order == list("abcabcabc")


def test_nothing_leaves_without_credit() -> None:
    chunker = Chunker(100, 150)
    chunker.add("a", b"x" * 500)
    chunker.add("b", b"y" * 500)
    sent = []
    while (frame := chunker.next()) is not None:
        sent.append(json.loads(frame))
    assert sum(len(chunk["payload"]["data"]) for chunk in sent) == 150
    chunker.grant(None, 1000)
    chunker.grant("b", 50)
    rest = []
    while (frame := chunker.next()) is not None:
        rest.append(json.loads(frame))
    assert {chunk["id"] for chunk in rest} == {"b"} and [chunk["payload"]["n"] for chunk in rest] == [1]


def test_a_dropped_call_leaves_room_for_the_others() -> None:
    chunker = Chunker()
    chunker.add("a", b"x" * 100)
    chunker.drop("a")
    assert chunker.next() is None


@given(st.text(min_size=1, max_size=50), st.integers(0, 200))
def test_cuts_fall_between_characters(text: str, end: int) -> None:
    data = text.encode(errors="replace")
    at = whole_characters(data, 0, min(end, len(data)))
    assert data[:at].decode() + data[at:].decode() == data.decode()


@settings(max_examples=100, deadline=None)
@given(st.text(min_size=300, max_size=3000), st.integers(1, 30), st.integers(1, 3))
def test_an_answer_that_is_sent_again_arrives_whole(text: str, after: int, times: int) -> None:
    chunker, assembler = Chunker(CALL, CONNECTION), Assembler(100_000, CALL, CONNECTION)
    chunker.add("a", text.encode())
    whole = None
    for number in range(1, 10_000):
        frame = chunker.next()
        if frame is None:
            break
        payload = json.loads(frame)["payload"]
        whole, windows = assembler.accept("a", payload["n"], payload["last"], payload["data"])
        if whole is None and times and number % after == 0:
            chunker.add("a", text.encode())  # before the windows come
            times -= 1
        for window in windows:
            granted = json.loads(window)
            chunker.grant(granted.get("id"), granted["payload"]["credit"])
    assert whole is not None and b"".join(whole).decode() == text
    chunker.add("b", b"x" * CONNECTION)
    assert sum(len(json.loads(f)["payload"]["data"]) for f in iter(chunker.next, None)) >= CALL

"""The outbox: order, merged deltas, the limit."""

import json

import pytest

from bus.events import ChatDelta, ChatStarted
from bus.keys import SessionKey
from gateway.outbox import Outbox
from gateway.packets import Packet, text_frame

KEY = SessionKey("agent:main:websocket:direct:alice")


def delta(seq: int, text: str = "ab") -> Packet:
    return Packet(ChatDelta(KEY, "m1", seq, text))


def frames(wire: bytes) -> list[dict[str, object]]:
    out = []
    while wire:
        length, start = wire[1], 2
        if length == 126:
            length, start = int.from_bytes(wire[2:4], "big"), 4
        elif length == 127:
            length, start = int.from_bytes(wire[2:10], "big"), 10
        out.append(json.loads(wire[start : start + length])["params"])
        wire = wire[start + length :]
    return out


def test_in_order_and_one_by_one_while_the_client_keeps_up() -> None:
    box = Outbox()
    for seq in (1, 2, 3):
        assert box.event(delta(seq))
    assert [p["seq"] for p in frames(box.take(1 << 20))] == [1, 2, 3]
    assert (box.event_bytes, len(box)) == (0, 0)


@pytest.mark.attack(29)
def test_a_slow_client_gets_neighbours_merged_with_both_numbers() -> None:
    box = Outbox()
    started = ChatStarted(session=KEY, message_id="m1", seq=4, mode="single", model="demo", attempt=2)
    for packet in (delta(1), delta(2), delta(3), Packet(started), delta(5, "é")):
        box.event(packet, congested=True)
    first, second, third = frames(box.take(1 << 20))
    assert (first["from_seq"], first["seq"], first["delta"]) == (1, 3, "ababab")
    assert second["type"] == "chat.started"
    assert (third["seq"], third["delta"], "from_seq" in third) == (5, "é", False)
    assert box.event_bytes == 0


@pytest.mark.attack(29)
def test_above_the_limit_merging_comes_first_and_then_the_client_is_let_go() -> None:
    box = Outbox(limit=10_000)
    seq = 0
    while seq < 200:
        seq += 1
        assert box.event(delta(seq, "word "))
    assert len(box) < 60
    alive = True
    while alive:
        seq += 1
        alive = box.event(delta(seq, "x" * 100), congested=True)
    assert 10_000 < box.event_bytes < 11_000


def test_replies_are_not_counted_against_the_limit() -> None:
    box = Outbox(limit=100)
    box.reply(text_frame(b"x" * 5000))
    assert box.event(Packet(ChatDelta(KEY, "m", 1, "")), congested=True)
    assert box.event(Packet(ChatDelta(KEY, "other", 1, "")), congested=True) is False
    assert box.reply_bytes > 5000
    box.clear()
    assert (len(box), box.reply_bytes, box.event_bytes) == (0, 0, 0)


def test_frames_of_every_length() -> None:
    for size in (0, 125, 126, 65_535, 65_536, 70_000):
        frame = text_frame(b"x" * size)
        assert frame[0] == 0x81
        assert len(frame) - size == (2 if size < 126 else 4 if size < 65_536 else 10)


def test_one_large_event_is_no_fault_of_the_reader() -> None:
    box = Outbox(limit=1000)
    assert box.event(delta(1, "x" * 50_000))
    assert not box.event(delta(2))
    assert len(frames(box.take(1 << 20))) == 1
    assert box.event(delta(3))

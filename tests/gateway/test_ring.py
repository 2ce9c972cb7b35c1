"""The replay ring against the plain list that it stands for."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bus.errors import EventsGone
from bus.events import ChatDelta, ChatDone, ChatStarted, SessionEvent, Usage
from bus.keys import SessionKey
from gateway.ring import WINDOW, Ring


def put(ring: Ring, one: SessionEvent) -> None:
    """As the hub does."""
    if isinstance(one, ChatDelta):
        ring.add_delta(one)
    else:
        ring.add(one, one.seq or 0)


KEY = SessionKey("agent:main:websocket:direct:alice")


def event(kind: str, seq: int, text: str = "") -> SessionEvent:
    turn = f"m{seq // 97}"
    if kind == "started":
        return ChatStarted(session=KEY, message_id=turn, seq=seq, mode="single", model="demo", attempt=1)
    if kind == "done":
        return ChatDone(session=KEY, message_id=turn, seq=seq, text=text, finish_reason="stop", usage=Usage())
    return ChatDelta(KEY, turn, seq, text)


@given(st.lists(st.tuples(st.sampled_from(["delta"] * 8 + ["started", "done"]), st.text(max_size=5)), max_size=700))
@settings(max_examples=60, deadline=None)
@pytest.mark.attack(76)
def test_the_ring_gives_back_what_came_in_for_three_hundred_events(items: list[tuple[str, str]]) -> None:
    ring = Ring()
    everything = [event(kind, seq, text) for seq, (kind, text) in enumerate(items, start=1)]
    for each in everything:
        put(ring, each)
    last = len(everything)
    for after in {0, last // 2, last - WINDOW - 1, last - WINDOW, last - 1, last, last + 1}:
        if after < 0:
            continue
        if last - WINDOW <= after <= last:
            assert ring.after(after, KEY) == everything[after:]
        else:
            with pytest.raises(EventsGone):
                ring.after(after, KEY)


def test_the_ring_stays_small_and_its_size_is_taken_back() -> None:
    ring = Ring()
    for seq in range(1, 5000):
        put(ring, event("delta" if seq % 50 else "done", seq, "word "))
    assert ring.size < WINDOW * 60 + 400 * 20
    assert len(list(ring.kept(KEY))) <= WINDOW + 100


def test_a_turn_of_two_hundred_pieces_costs_about_its_text() -> None:
    ring = Ring()
    for seq in range(1, 201):
        put(ring, ChatDelta(KEY, "m", seq, "abcd"))
    assert ring.size < 4096

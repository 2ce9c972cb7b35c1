"""The pure delivery machine: drafts, edits, rates, the latest text."""

from dataclasses import replace

import pytest

from channels.items import Wait
from tests.channels.delivery_bench import DRAFTS, Bench


def test_a_quick_answer_goes_whole_in_one_message() -> None:
    bench = Bench()
    bench.turn()
    bench.chat.delta("m1", "hello ", bench.now)
    bench.run(0.3)
    bench.chat.finish("m1", "hello world")
    bench.run(10)
    assert bench.platform.visible == ["hello world"]
    assert bench.platform.calls.count("Send") == 1
    assert "Edit" not in bench.platform.calls
    assert bench.chat.next(bench.now) is None


def test_a_stream_begins_with_a_placeholder_and_goes_on_by_edits() -> None:
    bench = Bench()
    bench.turn()
    for number in range(10):
        bench.chat.delta("m1", f"w{number} ", bench.now)
        bench.run(1)
    assert bench.platform.visible[0].startswith("w0 w1")
    bench.chat.finish("m1", "w0 all")
    bench.run(10)
    assert bench.platform.visible == ["w0 all"]
    assert bench.platform.calls.count("Send") == 1


def test_drafts_show_the_stream_and_the_message_comes_at_the_end() -> None:
    bench = Bench(DRAFTS)
    bench.turn("draft")
    bench.chat.delta("m1", "thinking", bench.now)
    bench.run(3)
    assert bench.platform.draft == "thinking"
    assert bench.platform.visible == []
    bench.chat.finish("m1", "thinking done")
    bench.run(5)
    assert bench.platform.visible == ["thinking done"]


def test_a_draft_is_shown_again_before_it_vanishes() -> None:
    bench = Bench(DRAFTS)
    bench.turn("draft")
    bench.chat.delta("m1", "thinking", bench.now)
    bench.run(65)
    assert bench.platform.calls.count("Draft") >= 3


def test_where_drafts_are_refused_edits_take_over() -> None:
    bench = Bench(DRAFTS, ["", "refused"])
    turn = bench.turn("draft")
    turn.acknowledge = True
    bench.chat.delta("m1", "thinking", bench.now)
    bench.run(5)
    assert bench.platform.visible == ["thinking"]
    bench.chat.finish("m1", "done")
    bench.run(5)
    assert bench.platform.visible == ["done"]


def test_where_drafts_are_refused_and_nothing_can_be_edited_the_answer_comes_whole() -> None:
    bench = Bench(replace(DRAFTS, edits=False), ["refused"])
    bench.turn("draft")
    bench.chat.delta("m1", "thinking", bench.now)
    bench.run(5)
    bench.chat.delta("m1", " on", bench.now)
    bench.run(5)
    assert bench.platform.visible == []
    bench.chat.finish("m1", "thinking on")
    bench.run(5)
    assert bench.platform.visible == ["thinking on"]
    assert {"Edit", "Delete"}.isdisjoint(bench.platform.calls)


def test_calls_to_a_chat_keep_to_its_bucket() -> None:
    bench = Bench()
    bench.turn()
    for _ in range(300):
        bench.chat.delta("m1", "x", bench.now)
        bench.run(0.1)
    counted = [t for t, c in zip(bench.platform.times, bench.platform.calls, strict=True) if c in ("Send", "Edit")]
    for start in counted:
        assert sum(1 for t in counted if start <= t < start + 10) <= 4 + 10


def test_the_latest_text_wins_after_a_429_and_nothing_sleeps() -> None:
    bench = Bench(faults=["", "", "429"])
    bench.turn()
    bench.chat.delta("m1", "one ", bench.now)
    bench.run(2.5)
    before = len(bench.platform.calls)
    assert isinstance(bench.chat.next(bench.now), Wait)
    for _ in range(5):
        bench.chat.delta("m1", "more ", bench.now)
        bench.run(1)
    assert len(bench.platform.calls) == before
    bench.chat.finish("m1", "the end")
    bench.run(10)
    assert bench.platform.visible == ["the end"]
    assert bench.platform.calls.count("Edit") == 2


@pytest.mark.attack(62)
def test_flood_control_of_twenty_minutes() -> None:
    bench = Bench(faults=["", "", "flood"])
    bench.turn()
    bench.chat.delta("m1", "one ", bench.now)
    bench.run(2)
    bench.chat.finish("m1", "the end")
    bench.run(1100)
    assert bench.platform.visible == ["…"]
    bench.run(200)
    assert bench.platform.visible == ["the end"]


def test_what_tools_do_is_shown_before_there_is_text() -> None:
    bench = Bench()
    turn = bench.turn()
    bench.chat.activity("m1", "⚙ clock", bench.now)
    bench.run(4)
    assert turn.items[0].shown is not None
    assert (turn.items[0].shown.markdown, turn.items[0].shown.activity) == ("", "⚙ clock")
    bench.chat.activity("m1", "", bench.now)
    bench.run(4)
    assert turn.items[0].shown.activity == "⚙ clock"
    bench.chat.finish("m1", "it is noon")
    bench.run(4)
    assert bench.platform.visible == ["it is noon"]
    assert bench.platform.calls.count("Send") == 1

"""A lost opener on a platform that counts its messages: it is found and written on, or sent once more, never left."""

import itertools
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.items import PLACEHOLDER, Edit, Probe, Send
from tests.channels.delivery_bench import COUNTED, HERE, Bench

OPENER = PLACEHOLDER.markdown
pytestmark = pytest.mark.attack(64)


def streaming(faults: list[str], between: list[tuple[int, int]] | None = None) -> Bench:
    """A turn that has something to show, on a platform whose first call is typing."""
    bench = Bench(COUNTED, ["", *faults])
    bench.platform.between = between or []
    bench.turn()
    bench.chat.delta("m1", "half of ", bench.now)
    return bench


def calls(bench: Bench) -> list[str]:
    return [name for name in bench.platform.calls if name != "Typing"]


def test_an_opener_that_arrived_is_found_and_written_on() -> None:
    bench = streaming(["timeout"])
    bench.run(6)
    assert bench.platform.visible == ["half of "]
    bench.chat.finish("m1", "half of it and the rest")
    bench.run(60)
    assert bench.platform.visible == ["half of it and the rest"]
    assert calls(bench) == ["Send", "Probe", "Edit", "Edit"]
    assert bench.states() == ["sent"]


def test_an_opener_that_did_not_arrive_is_sent_once_more() -> None:
    bench = streaming(["lost"])
    bench.run(10)
    bench.chat.finish("m1", "whole")
    bench.run(60)
    assert bench.platform.visible == ["whole"]
    assert calls(bench) == ["Send", "Probe", "Probe", "Probe", "Send", "Edit", "Edit"]
    assert bench.states() == ["sent"]


def test_an_answer_that_ended_meanwhile_still_travels_in_an_edit() -> None:
    """Sent whole it could be lost in doubt once more, and then nobody might send it again."""
    bench = streaming(["lost"])
    bench.run(1)
    bench.chat.finish("m1", "whole")
    bench.platform.faults = ["", "", "", "timeout"]
    bench.run(60)
    assert bench.platform.visible == ["whole"]
    assert bench.states() == ["sent"]


def test_what_other_people_wrote_meanwhile_is_passed_over() -> None:
    bench = streaming(["timeout"], [(7, 0)])
    bench.run(30)
    bench.chat.finish("m1", "whole")
    bench.run(60)
    assert bench.platform.visible == ["whole"]
    assert calls(bench).count("Probe") == 8
    assert calls(bench).count("Send") == 1


def test_one_left_in_a_gap_is_taken_away_once_the_answer_is_there() -> None:
    """The numbers of a private chat are those of all the bot's private chats."""
    bench = streaming(["timeout"], [(1, 12)])
    bench.run(12)
    assert bench.platform.visible == [OPENER, "half of "]
    bench.chat.finish("m1", "whole")
    bench.run(0.2)
    assert bench.platform.visible == [OPENER, "whole"], "the answer goes before the search"
    bench.run(60)
    assert bench.platform.visible == ["whole"]
    assert [item.state for item in bench.everything.values()] == ["sent"] * 3


def test_too_many_numbers_are_not_tried_and_what_may_be_left_is_listed() -> None:
    bench = streaming(["timeout"], [(0, 100)])
    bench.run(12)
    bench.chat.finish("m1", "whole")
    bench.run(600)
    assert bench.platform.visible == [OPENER, "whole"]
    assert calls(bench).count("Probe") == 33
    (listed,) = (item for item in bench.everything.values() if item.state == "unknown")
    assert (listed.kind, listed.shown) == ("stray", PLACEHOLDER)
    for _ in range(3):
        bench.chat.resend(listed)
        bench.run(600)
    assert bench.platform.visible == ["whole"]
    assert listed.state == "sent"


def test_flood_control_and_outages_during_the_search_cost_nothing_but_time() -> None:
    bench = streaming(["timeout", "flood", "lost", "503", "timeout"])
    bench.run(60)
    assert bench.platform.visible == [OPENER]
    bench.chat.finish("m1", "whole")
    bench.run(1500)
    assert bench.platform.visible == ["whole"]
    assert calls(bench).count("Send") == 1


def test_a_restart_under_the_opener_and_one_in_the_middle_of_the_search() -> None:
    bench = streaming([], [(2, 0)])
    while not isinstance(call := bench.chat.next(bench.now), Send):
        bench.run(0.1)
    bench.everything.update(bench.chat.changed)
    bench.platform.perform(call, bench.now)
    bench.restart()
    probe = bench.chat.next(bench.now)
    assert isinstance(probe, Probe)
    bench.chat.outcome(probe, bench.now, error=bench.platform.perform(probe, bench.now)[1])
    bench.everything.update(bench.chat.changed)
    bench.restart()
    bench.chat.finish("m1", "whole")
    bench.run(60)
    assert bench.platform.visible == ["whole"]
    assert bench.states() == ["sent"]


def test_a_text_of_ours_that_may_stand_there_is_never_overwritten() -> None:
    """Two losses in a row: a notice that arrived, and the opener behind it. Better a stray than a lost text."""
    bench = Bench(COUNTED, ["timeout", "", "timeout"])
    bench.turn()
    bench.chat.notice(HERE, "a notice")
    bench.run(0.5)
    bench.chat.delta("m1", "half", bench.now)
    bench.run(20)
    bench.chat.finish("m1", "whole")
    bench.run(60)
    assert "Probe" not in calls(bench)
    assert bench.platform.visible == ["a notice", OPENER, "whole"]
    assert sorted(bench.states()) == ["sent", "unknown", "unknown"]


def test_a_withdrawn_piece_whose_opener_is_in_doubt_is_found_and_goes() -> None:
    bench = streaming(["timeout"])
    bench.run(0.9)
    item = bench.chat.turns["m1"].items[0]
    bench.chat.change(item, None)
    bench.chat.turns["m1"].items.clear()
    bench.chat.finish("m1", "something else")
    bench.run(60)
    assert bench.platform.visible == ["something else"]
    assert all(isinstance(i.platform_id, str) for i in bench.everything.values())


FAULTS = st.lists(st.sampled_from(["", "", "", "429", "503", "timeout", "lost"]), max_size=25)


@given(
    FAULTS, st.lists(st.tuples(st.integers(0, 4), st.sampled_from([0, 0, 0, 1, 2, 9])), max_size=8),
    st.integers(0, 10_000), st.lists(st.integers(0, 40), max_size=2),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_whatever_happens_the_whole_answer_stands_there_once_and_nothing_beside_it(
    faults: list[str], between: list[tuple[int, int]], seed: int, restarts: list[int]
) -> None:
    bench = Bench(COUNTED, faults)
    bench.platform.between = between
    bench.turn()
    bench.chat.delta("m1", "w", bench.now)
    bench.run(1)
    final = bench.stream(random.Random(seed), restarts, "w")
    assert bench.chat.queued == 0
    assert "".join("".join(bench.platform.visible).split()) == "".join(final.split())
    assert {item.state for item in bench.everything.values()} == {"sent"}


@pytest.mark.parametrize("fault", ["timeout", "lost"])
def test_no_piece_of_a_long_answer_is_missing_in_the_end(fault: str) -> None:
    """A text that goes whole may get lost for good: of several messages each is begun by an opener."""
    bench = Bench(COUNTED, ["", "", "", "", fault, fault])
    bench.turn()
    bench.run(0.1)
    bench.chat.finish("m1", final := "word " * 60)
    bench.run(60)
    assert "".join(bench.platform.visible).split() == final.split()
    assert set(bench.states()) == {"sent"}


def test_numbers_that_are_none_are_left_alone() -> None:
    bench = streaming(["timeout"])
    bench.chat.turns["m1"].reply_to = "a word"
    bench.chat._numbers._highest = None
    bench.run(20)
    bench.chat.finish("m1", "whole")
    bench.run(60)
    assert bench.platform.visible == [OPENER, "whole"]
    assert sorted(bench.states()) == ["sent", "unknown"]
    assert not [c for c in itertools.chain(bench.platform.calls) if c in (Probe.__name__, Edit.__name__)]

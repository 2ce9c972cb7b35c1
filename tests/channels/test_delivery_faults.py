"""The pure delivery machine against lost answers, refusals, outages and restarts."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.base import Capabilities
from channels.errors import (
    EditExpired,
)
from channels.items import PLACEHOLDER, Body, React, Send, Typing, Wait
from tests.channels.delivery_bench import DRAFTS, HERE, NONCE, PLAIN, Bench, comes_whole_where_it_is_gone


@pytest.mark.attack(64)
def test_without_a_nonce_a_lost_send_is_listed_and_never_repeated() -> None:
    bench = Bench(faults=["timeout"])
    bench.chat.notice(HERE, "hello")
    bench.run(600)
    assert bench.platform.visible == ["hello"]
    assert bench.platform.calls == ["Send"]
    assert bench.states() == ["unknown"]


@pytest.mark.attack(64)
def test_a_lost_placeholder_is_not_repeated_and_the_answer_comes_once() -> None:
    bench = Bench(faults=["", "timeout"])
    bench.turn()
    bench.chat.delta("m1", "half of ", bench.now)
    bench.run(5)
    assert bench.platform.visible == [PLACEHOLDER.markdown]
    bench.chat.finish("m1", "half of it and the rest")
    bench.run(60)
    assert bench.platform.visible == [PLACEHOLDER.markdown, "half of it and the rest"]
    assert sorted(bench.states()) == ["sent", "unknown"]


@pytest.mark.attack(64)
@pytest.mark.parametrize("fault", ["timeout", "lost"])
def test_with_a_nonce_a_lost_send_is_repeated_and_edited_in(fault: str) -> None:
    bench = Bench(NONCE, ["", fault, fault])
    bench.turn()
    bench.chat.delta("m1", "half", bench.now)
    bench.run(1)
    bench.chat.finish("m1", "half and whole")
    bench.run(60)
    assert bench.platform.visible == ["half and whole"]


def test_a_nonce_that_the_platform_has_forgotten_is_not_trusted() -> None:
    bench = Bench(NONCE, ["timeout", *["503"] * 12])
    bench.chat.notice(HERE, "hello")
    bench.run(1000)
    assert bench.platform.visible == ["hello"]
    assert bench.states() == ["unknown"]


@pytest.mark.attack(63)
def test_a_refusal_is_final_and_takes_the_later_pieces_along() -> None:
    bench = Bench(faults=["", "refused"])
    bench.turn()
    bench.run(0.1)
    bench.chat.finish("m1", "word " * 60)
    bench.run(600)
    assert bench.platform.visible == []
    assert bench.platform.calls.count("Send") == 1
    assert set(bench.states()) == {"refused"}


def test_an_outage_delays_and_keeps_the_order() -> None:
    bench = Bench(faults=["503"] * 8)
    for number in range(3):
        bench.chat.notice(HERE, f"n{number}")
    bench.run(400)
    assert bench.platform.visible == ["n0", "n1", "n2"]


def test_a_kick_ends_a_back_off_but_not_a_platform_s_wait() -> None:
    bench = Bench(faults=["503"] * 6)
    bench.chat.notice(HERE, "n")
    bench.run(40)
    bench.chat.kick()
    assert isinstance(bench.chat.next(bench.now), Send)
    limited = Bench(faults=["flood"])
    limited.chat.notice(HERE, "n")
    limited.run(1)
    limited.chat.kick()
    assert isinstance(limited.chat.next(limited.now), Wait)


def test_a_new_attempt_overwrites_what_was_shown() -> None:
    bench = Bench()
    bench.turn()
    bench.chat.delta("m1", "first try " * 25, bench.now)
    bench.run(8)
    assert len(bench.platform.visible) == 3
    bench.chat.started("m1")
    bench.chat.delta("m1", "second", bench.now)
    bench.run(3)
    bench.chat.finish("m1", "second try")
    bench.run(10)
    assert bench.platform.visible == ["second try"]


def test_a_message_that_the_person_deleted_comes_again_once() -> None:
    bench = Bench()
    bench.turn()
    bench.chat.delta("m1", "half", bench.now)
    bench.run(3)
    bench.platform.shown.clear()
    comes_whole_where_it_is_gone(bench)


def test_a_message_too_old_to_edit_is_replaced() -> None:
    bench = Bench()
    bench.turn()
    bench.chat.delta("m1", "half", bench.now)
    bench.run(3)
    bench.chat.finish("m1", "whole")
    call = bench.chat.next(bench.now + 5)
    bench.chat.outcome(call, bench.now + 5, error=EditExpired("too old"))
    bench.now += 6
    bench.run(10)
    assert bench.platform.visible == ["whole"]


def test_typing_lasts_from_acceptance_to_the_end() -> None:
    bench = Bench()
    bench.turn("off")
    bench.run(20)
    assert bench.platform.calls.count("Typing") >= 4
    bench.chat.finish("m1", "done")
    bench.run(20)
    typed = [t for t, c in zip(bench.platform.times, bench.platform.calls, strict=True) if c == "Typing"]
    assert max(typed) <= 1020.2


@pytest.mark.parametrize("mode", ["draft", "edit", "off"])
def test_typing_goes_on_while_the_answer_is_seen_growing(mode: str) -> None:
    bench = Bench(DRAFTS)
    bench.turn(mode)
    for _ in range(20):
        bench.chat.delta("m1", "word ", bench.now)
        bench.run(1)
    typed = [t for t, c in zip(bench.platform.times, bench.platform.calls, strict=True) if c == "Typing"]
    assert typed[0] < 1000.2
    assert all(after - before < DRAFTS.typing_seconds + 1.5 for before, after in pairwise(typed))
    assert typed[-1] > 1014


def test_the_acknowledgement_is_given_once() -> None:
    bench = Bench()
    turn = bench.turn("off")
    turn.acknowledge = True
    bench.run(20)
    assert bench.platform.calls.count(React.__name__) == 1
    assert Typing.__name__ in bench.platform.calls


def test_activity_is_beside_the_text_and_gone_at_the_end() -> None:
    bench = Bench()
    turn = bench.turn()
    bench.chat.delta("m1", "text", bench.now)
    bench.chat.activity("m1", "⚙ clock", bench.now)
    bench.run(3)
    assert turn.items[0].shown is not None
    assert (turn.items[0].shown.markdown, turn.items[0].shown.activity) == ("text", "⚙ clock")
    item = turn.items[0]
    bench.chat.finish("m1", "text")
    bench.run(3)
    assert item.shown is not None
    assert item.shown.activity == ""


@pytest.mark.parametrize(("capabilities", "visible", "state"), [(PLAIN, 1, "unknown"), (NONCE, 1, "sent")])
def test_a_stop_while_a_send_is_under_way(capabilities: Capabilities, visible: int, state: str) -> None:
    bench = Bench(capabilities)
    bench.chat.notice(HERE, "hello")
    call = bench.chat.next(bench.now)
    bench.everything.update(bench.chat.changed)
    assert isinstance(call, Send)
    bench.platform.perform(call, bench.now)
    bench.restart()
    bench.run(60)
    assert len(bench.platform.visible) == visible
    assert bench.states() == [state]


def test_an_answer_that_was_cut_by_a_restart_is_overwritten() -> None:
    bench = Bench()
    bench.turn()
    bench.chat.delta("m1", "half of it", bench.now)
    bench.run(5)
    bench.restart()
    bench.chat.started("m1")
    bench.run(5)
    bench.chat.delta("m1", "again ", bench.now)
    bench.run(5)
    bench.chat.finish("m1", "again whole")
    bench.run(10)
    assert bench.platform.visible == ["again whole"]


FAULTS = st.lists(st.sampled_from(["", "", "", "429", "503", "timeout", "lost"]), max_size=25)


@given(
    FAULTS, st.sampled_from([PLAIN, NONCE, DRAFTS]), st.integers(0, 10_000), st.lists(st.integers(0, 40), max_size=2)
)
@settings(max_examples=300, deadline=None)
def test_whatever_happens_one_answer_or_none_that_is_listed(
    faults: list[str], capabilities: Capabilities, seed: int, restarts: list[int]
) -> None:
    bench = Bench(capabilities, faults)
    mode = "draft" if capabilities.drafts else "edit"
    bench.turn(mode)
    final = bench.stream(random.Random(seed), restarts)
    assert bench.chat.queued == 0
    answers = [text for text in bench.platform.visible if text != PLACEHOLDER.markdown]
    unknown = [i for i in bench.everything.values() if i.state == "unknown"]
    joined = "".join("".join(answers).split())
    whole = "".join(final.split())
    if unknown:
        assert not capabilities.nonce_seconds or any("nonce" in i.reason or "stopped" in i.reason for i in unknown)
        assert len(joined) <= len(whole)
        assert len(answers) == len(set(answers))
    else:
        assert joined == whole


def test_bodies_are_kept_as_json() -> None:
    body = Body(markdown="x", plain=True, final=False)
    assert Body.from_json(body.to_json()) == body

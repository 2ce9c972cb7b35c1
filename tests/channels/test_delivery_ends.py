"""The pure delivery machine: what is listed can be sent again whole, and what is gone comes back as a new message."""

from dataclasses import replace

from bus.events import MediaRef
from channels.errors import MessageGone
from channels.items import Delete, Edit, Item, Send, Turn, Wait
from tests.channels.delivery_bench import HERE, NONCE, Bench, comes_whole_where_it_is_gone


def listed(bench: Bench) -> list[Item]:
    return [item for item in bench.everything.values() if item.state in ("refused", "unknown")]


def test_an_opener_that_was_refused_is_listed_with_the_whole_answer() -> None:
    bench = Bench(faults=["", "refused"])
    bench.turn()
    bench.chat.delta("m1", "half of ", bench.now)
    bench.run(5)
    assert [item.state for item in listed(bench)] == ["refused"]
    bench.chat.finish("m1", "half of it and the rest")
    bench.run(5)
    (found,) = listed(bench)
    assert found.want is not None
    assert found.want.markdown == "half of it and the rest"
    bench.chat.resend(found)
    bench.run(60)
    assert bench.platform.visible == ["half of it and the rest"]
    assert found.state == "sent"
    assert bench.chat.queued == 0


def test_pieces_after_a_refused_one_are_not_shown_alone() -> None:
    bench = Bench(faults=["", "refused"])
    bench.turn()
    bench.chat.delta("m1", "word ", bench.now)
    bench.run(5)
    bench.chat.delta("m1", "word " * 60, bench.now)
    bench.run(60)
    bench.chat.finish("m1", "word " * 61)
    bench.run(60)
    assert bench.platform.visible == []
    assert {item.state for item in bench.everything.values()} == {"refused"}
    assert bench.chat.turns == {}
    for item in sorted(listed(bench), key=lambda item: item.index):
        bench.chat.resend(item)
    bench.run(120)
    assert "".join(bench.platform.visible).split() == ["word"] * 61


def test_a_message_that_is_gone_comes_again_under_another_nonce() -> None:
    """A platform that remembers the nonce would give the deleted message back, and nothing would be seen."""
    bench = Bench(NONCE)
    bench.turn()
    bench.chat.delta("m1", "half", bench.now)
    bench.run(3)
    first = next(iter(bench.platform.shown))
    del bench.platform.shown[first]
    comes_whole_where_it_is_gone(bench)
    bench.restart()
    bench.run(10)
    assert bench.platform.visible == ["whole"]
    assert not {"unknown", "refused", "queued"} & {item.state for item in bench.everything.values()}
    assert Send.__name__ in bench.platform.calls
    assert Delete.__name__ not in bench.platform.calls


def test_a_file_whose_upload_never_ends_in_time_does_not_hold_up_what_comes_after_it() -> None:
    bench = Bench(replace(NONCE, nonce_seconds=86_400), ["lost"] * 3)
    ref = MediaRef(media_id="m", mime="application/zip", name="big.zip", size=1)
    bench.chat.media(Turn(message_id="m1", session="s", address=HERE), ref)
    bench.chat.notice(HERE, "hello")
    bench.run(600)
    assert bench.platform.visible == ["hello"]
    assert sorted(bench.states()) == ["sent", "unknown"]


def test_where_somebody_takes_away_what_streams_the_answer_comes_whole_at_its_end() -> None:
    """A moderating bot, for instance: against it nothing is sent over and over."""
    bench = Bench(NONCE)
    bench.turn()
    for number in range(20):
        bench.chat.delta("m1", f"w{number} ", bench.now)
        call = bench.chat.next(bench.now)
        if isinstance(call, Edit):
            bench.platform.shown.clear()
            bench.chat.outcome(call, bench.now, error=MessageGone("deleted"))
        elif call is not None and not isinstance(call, Wait):
            identifier, error = bench.platform.perform(call, bench.now)
            bench.chat.outcome(call, bench.now, platform_id=identifier, error=error)
        bench.now += 2
    assert bench.platform.calls.count(Send.__name__) <= 2
    bench.chat.finish("m1", "whole")
    bench.run(10)
    assert bench.platform.visible == ["whole"]
    assert bench.chat.turns == {}

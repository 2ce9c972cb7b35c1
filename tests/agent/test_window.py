"""The model's window: whole pairs, stable prefixes, bounds."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.ports.sessions import Record
from agent.sessions import records as kinds
from agent.window import Window, result_text


def message(seq: int, text: str, **more: Any) -> Record:
    return Record(seq, kinds.MESSAGE, "", {"message_id": f"m{seq}", "text": text, **more})


def done(seq: int, of: int, text: str) -> Record:
    return Record(seq, kinds.DONE, "", {"message_id": f"m{of}", "text": text})


def tool_round(seq: int, of: int, *ids: str) -> Record:
    calls = [{"call_id": i, "name": "t", "arguments": "{}"} for i in ids]
    return Record(seq, kinds.TOOL_STARTED, "", {"message_id": f"m{of}", "call_id": ids[0],
                                                "round": {"text": "thinking", "calls": calls}})  # fmt: skip


def result(seq: int, of: int, call_id: str, text: str = "ok") -> Record:
    content = [{"type": "text", "text": text}]
    return Record(seq, kinds.TOOL_FINISHED, "", {"message_id": f"m{of}", "call_id": call_id, "content": content})


def talk(turns: int, window: Window, text: str = "hello") -> None:
    for n in range(turns):
        window.apply(message(2 * n + 1, f"{text} {n}"))
        window.apply(done(2 * n + 2, 2 * n + 1, f"answer {n}"))


def test_the_window_moves_in_halves_so_that_the_prefix_stays() -> None:
    window = Window(20, 100_000)
    prefixes = []
    for n in range(60):
        window.apply(message(2 * n + 1, f"q{n}"))
        prefixes.append(window.messages(f"m{2 * n + 1}")[0]["content"])
        window.apply(done(2 * n + 2, 2 * n + 1, f"a{n}"))
    assert len(set(prefixes)) <= 14
    assert len(window.messages("m119")) <= 20


def test_calls_and_results_are_never_parted() -> None:
    window = Window(80, 100_000)
    window.apply_all([message(1, "go"), tool_round(2, 1, "a", "b"), result(3, 1, "a")])
    window.apply(Record(4, kinds.ERROR, "", {"message_id": "m1", "partial": "thinking"}))
    window.apply(message(5, "and now"))
    roles = [(m["role"], m.get("tool_call_id")) for m in window.messages("m5")]
    assert roles == [("user", None), ("assistant", None), ("tool", "a"), ("tool", "b"), ("assistant", None),
                     ("user", None)]  # fmt: skip


@pytest.mark.parametrize("how", ["edit", "new"])
def test_a_turn_keeps_what_it_needs_when_an_edit_or_new_hides_it(how: str) -> None:
    """It asked a model that did not see the results for the same calls again, up to the limit of rounds."""
    window = Window(80, 100_000)
    window.apply_all([message(1, "first"), done(2, 1, "one"), message(3, "do it"), message(4, "waits")])
    window.apply(tool_round(5, 3, "a"))
    if how == "edit":
        window.apply(message(6, "first, edited", replaces="m1"))
    else:
        window.apply(Record(6, kinds.UPDATED, "", {"reset": True}))
    window.apply_all([result(7, 3, "a"), message(8, "later")])
    own = [(m["role"], m["content"]) for m in window.messages("m3")]
    assert own == [("user", "do it"), ("assistant", "thinking"), ("tool", "ok")]
    assert [m["content"] for m in window.messages("m4")] == ["waits"]
    kept = ["first, edited", "later"] if how == "edit" else ["later"]
    assert [m["content"] for m in window.messages("m8")] == kept
    window.apply_all([done(9, 3, "done"), done(10, 4, "too")])
    assert [m["content"] for m in window.messages("m8")] == kept
    assert not window.holds("m3")


def test_a_result_for_an_unknown_call_is_left_out() -> None:
    window = Window(80, 100_000)
    window.apply_all([message(1, "go"), result(2, 1, "ghost"), done(3, 1, "x")])
    assert [m["role"] for m in window.messages("m1")] == ["user", "assistant"]


def test_commands_are_not_part_of_the_talk_and_new_begins_afresh() -> None:
    window = Window(80, 100_000)
    talk(2, window)
    window.apply(message(10, "/help", command="help"))
    window.apply(Record(11, kinds.DONE, "", {"message_id": "m10", "text": "help text", "command": "help"}))
    assert "help text" not in str(window.messages("m10"))
    window.apply(Record(12, kinds.UPDATED, "", {"reset": True}))
    window.apply(message(13, "fresh"))
    assert [m["content"] for m in window.messages("m13")] == ["fresh"]


def test_an_edited_message_takes_the_place_of_what_followed() -> None:
    window = Window(80, 100_000)
    talk(3, window)
    window.apply(message(20, "better", replaces="m3"))
    assert [m["content"] for m in window.messages("m20")] == ["hello 0", "answer 0", "better"]


def test_messages_queued_behind_are_not_seen() -> None:
    window = Window(80, 100_000)
    window.apply_all([message(1, "first"), message(2, "second")])
    assert [m["content"] for m in window.messages("m1")] == ["first"]


def test_what_is_known_already_changes_nothing() -> None:
    window = Window(80, 100_000)
    talk(2, window)
    before = window.messages("m3")
    talk(2, window)
    assert window.messages("m3") == before


@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(4, 30), st.integers(50, 4000))
def test_bounds_hold_after_every_turn(sizes: list[int], most: int, tokens: int) -> None:
    window = Window(most, tokens)
    for n, size in enumerate(sizes):
        window.apply(message(2 * n + 1, "x" * size))
        window.apply(done(2 * n + 2, 2 * n + 1, "y"))
        assert len(window.messages("none")) <= max(most, 2)
        assert window.size <= tokens or len(window.messages("none")) <= 2


def test_a_result_is_read_as_the_model_got_it() -> None:
    assert result_text({"content": [{"type": "text", "text": "long"}], "text": "short"}) == "short"
    assert "image" in result_text({"content": [{"type": "image", "data": "AAAA", "mimeType": "image/png"}]})

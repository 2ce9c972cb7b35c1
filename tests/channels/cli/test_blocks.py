"""Blocks: nothing lost, nothing cut in two."""

from hypothesis import given, settings
from hypothesis import strategies as st

from channels.cli.blocks import finished


def test_a_block_is_finished_by_an_empty_line():
    assert finished("one\n\ntwo\n\nthr") == (["one\n\n", "two\n\n"], "thr")
    assert finished("one\ntwo") == ([], "one\ntwo")
    assert finished("one\n\n") == (["one\n\n"], "")


def test_a_fence_holds_together():
    code = "```python\na = 1\n\nb = 2\n"
    assert finished("x\n\n" + code) == (["x\n\n"], code)
    assert finished(code + "```\n\nafter") == ([code + "```\n\n"], "after")
    assert finished("````\n```\n\nx\n") == ([], "````\n```\n\nx\n")


def test_a_list_with_empty_lines_holds_together():
    text = "1. one\n\n2. two\n\n   more\n\n"
    assert finished(text) == ([], text)
    assert finished(text + "After the list\n") == ([text], "After the list\n")


@given(st.text(alphabet="ab`~-1. \n#|*>", max_size=200))
@settings(max_examples=300, deadline=None)
def test_nothing_is_lost_but_empty_lines(text: str):
    blocks, rest = finished(text)
    assert ("".join(blocks) + rest).replace("\n", "").replace(" ", "") == text.replace("\n", "").replace(" ", "")


@given(st.text(alphabet="ab`~-1. \n#", max_size=120))
@settings(max_examples=300, deadline=None)
def test_what_was_finished_stays_finished_as_the_text_grows(text: str):
    before: list[str] = []
    for length in range(len(text) + 1):
        blocks, _ = finished(text[:length])
        assert [block.strip() for block in blocks[: len(before)]] == [block.strip() for block in before]
        before = blocks

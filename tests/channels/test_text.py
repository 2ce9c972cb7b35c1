"""Splitting: what no input may break."""

import re
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from channels.discord import render as discord
from channels.feishu import cards
from channels.feishu import render as feishu
from channels.text import Measure, clean, count, take_piece
from tests.channels.pieces import split_markdown

WORDS = st.text(st.sampled_from("abc de中文，。😀é\u0301👨\u200d👩🇩🇪|*_`#-1 "), max_size=60)
CODE = st.lists(WORDS.filter(lambda t: "```" not in t), max_size=12).map(
    lambda ls: "```python\n" + "\n".join(ls) + "\n```"
)
TABLE = st.lists(
    st.tuples(st.sampled_from(["a", "中文", "😀😀"]), st.sampled_from(["1", "22", "x" * 20])), min_size=1, max_size=12
).map(lambda rows: "| left | right |\n|---|---|\n" + "\n".join(f"| {a} | {b} |" for a, b in rows))
DOCUMENT = st.lists(st.one_of(WORDS, CODE, TABLE), max_size=8).map("\n\n".join)
FENCE = re.compile(r"^[ \t>]*(?:[-*+][ \t]+|\d{1,9}[.)][ \t]+)?```", re.M)


def utf16(text: str) -> int:
    return count(text, "utf16")


def words_of(text: str) -> str:
    """The text without what a cut may add or drop: fences, heads of tables, white space."""
    kept = [line for line in text.split("\n") if not FENCE.match(line) and not line.startswith(("| left", "|---"))]
    return re.sub(r"\s", "", "".join(kept))


@given(DOCUMENT, st.integers(60, 300))
@example("```python\n11111🇩🇩\n11111111\n1111111111111111🇩🇩🇩🇩🇩🇩\n\n```", 60)
@settings(max_examples=300, deadline=None)
def test_every_piece_fits_and_nothing_is_lost(document: str, limit: int) -> None:
    pieces = split_markdown(document, limit, utf16)
    assert all(0 < utf16(piece) <= limit for piece in pieces)
    assert all(piece.strip() for piece in pieces)
    assert words_of("\n".join(pieces)) == words_of(document)


@given(st.lists(st.one_of(CODE, TABLE, st.just("some words")), max_size=6).map("\n\n".join), st.integers(80, 300))
@settings(max_examples=200, deadline=None)
def test_fences_are_whole_in_every_piece(document: str, limit: int) -> None:
    for piece in split_markdown(document, limit, utf16):
        assert len(FENCE.findall(piece)) % 2 == 0, piece


@given(st.integers(3, 60), st.integers(80, 200))
@settings(max_examples=60, deadline=None)
def test_a_table_is_cut_between_rows_and_gets_its_head_again(rows: int, limit: int) -> None:
    table = "| name | value |\n|---|---|\n" + "\n".join(f"| row{i} | {i} |" for i in range(rows))
    pieces = split_markdown("before\n\n" + table, limit, len)
    found = []
    for piece in pieces:
        lines = [line for line in piece.split("\n") if line.startswith("|")]
        if lines:
            assert lines[:2] == ["| name | value |", "|---|---|"]
            found += lines[2:]
    assert found == [f"| row{i} | {i} |" for i in range(rows)]


def test_a_table_or_fence_that_fits_a_message_is_not_cut() -> None:
    fence = "```\n" + "\n".join(f"line {i}" for i in range(8)) + "\n```"
    pieces = split_markdown("x" * 60 + "\n\n" + fence + "\n\nend", 100, len)
    assert pieces[0] == "x" * 60
    assert pieces[1].startswith(fence)


@given(st.text(st.sampled_from("😀👨\u200d👩\u200d👧🇩🇪e\u0301中"), min_size=1, max_size=200), st.integers(20, 40))
@settings(max_examples=100, deadline=None)
def test_no_surrogate_pair_is_broken(text: str, limit: int) -> None:
    pieces = split_markdown(text, limit, utf16)
    assert "".join(pieces) == text
    for piece in pieces:
        assert utf16(piece) <= limit
        piece.encode("utf-8")


def test_a_family_emoji_and_a_flag_stay_whole() -> None:
    family = "👨\u200d👩\u200d👧"
    assert all(set(piece.split(family)) == {""} for piece in split_markdown(family * 20, 30, utf16))
    assert all(len(piece) % 2 == 0 for piece in split_markdown("🇩🇪" * 30, 30, utf16))


def test_a_short_text_is_left_alone() -> None:
    assert split_markdown("hello", 10, len) == ["hello"]
    assert split_markdown(" \n", 10, len) == []


def test_a_paragraph_is_preferred_over_a_line_and_a_space_over_a_letter() -> None:
    assert split_markdown("a" * 60 + "\n\n" + "b" * 60, 100, len) == ["a" * 60, "b" * 60]
    assert split_markdown("word " * 30, 52, len)[0] == "word " * 10


def test_a_long_line_inside_a_fence_is_cut_with_the_fence_around_each_part() -> None:
    pieces = split_markdown("```sh\n" + "x" * 300 + "\n```", 100, len)
    assert all(piece.startswith("```sh\n") and piece.endswith("\n```") for piece in pieces)
    assert sum(piece.count("x") for piece in pieces) == 300


def test_a_megabyte_is_split_in_reasonable_time() -> None:
    pieces = split_markdown("lorem ipsum 中文 " * 60_000, 4096, utf16)
    assert sum(len(piece.split()) for piece in pieces) == 180_000


_PACED = {
    "spaces": " " * 20_000 + "x",
    "quoted spaces": ">" + " " * 20_000 + "x",
    "a table's rule that is none": "x|\n" + " " * 20_000 + "x|",
    "dashes that end in no rule": "x|\n-" + " " * 20_000 + "x|",
    "pictures that begin": "![" * 20_000,
    "pictures without an end": "![](" * 10_000,
    "titles without an end": '![](a "' * 6_000,
    "a heading of marks": "#### " + "#" * 20_000 + "x",
    "a heading of spaces": "#### a" + " " * 20_000 + "x",
}


@pytest.mark.attack(32)
@pytest.mark.parametrize("text", _PACED.values(), ids=_PACED)
@pytest.mark.parametrize(
    ("limit", "measure"),
    [(4096, utf16), (2000, discord.length), (20_000, feishu.length)],
    ids=["text", "discord", "feishu"],
)
def test_no_line_is_read_again_and_again(text: str, limit: int, measure: Measure) -> None:
    """A model says what somebody wants it to say, and a server's question is the server's."""
    begun = time.thread_time()
    take_piece(text, limit, measure)
    measure(text)
    cards.TABLE.search(text)
    assert time.thread_time() - begun < 1


@pytest.mark.attack(32)
def test_what_no_platform_takes_is_cleaned() -> None:
    assert clean("a\ud800b\x00c\r\nd") == "a\ufffdbc\nd"


def test_a_fence_whose_end_fits_only_without_a_cut() -> None:
    """All lines up to the fence's own end fit, one line less and a closing mark does not."""
    document = "```python\n\n\n1\n1🇩\n1111111111111🇩🇩🇩\n111111111111111🇩🇩\n\n```"
    pieces = split_markdown(document, 60, utf16)
    assert all(utf16(piece) <= 60 for piece in pieces)

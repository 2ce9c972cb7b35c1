"""The quick look at raw lines may pass over nothing that the exact look would find."""

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.sessions.lines import encode
from agent.sessions.search import Wanted, snippet
from tests.fakes.session_records import said

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
AWKWARD = ["Kelvin \u212a", "ſtraße", "İstanbul", 'say "hi"', "a\\b", "a/b", "tab\there", "北京 烤鸭", "É"]
awkward = st.sampled_from(AWKWARD)


@given(st.one_of(texts, awkward), st.one_of(texts, awkward), st.integers(0, 3))
@settings(max_examples=300, deadline=None)
def test_the_quick_look_finds_what_the_exact_one_finds(before: str, query: str, change: int) -> None:
    if not query.split():
        with pytest.raises(ValueError, match="empty"):
            Wanted(query)
        return
    wanted = Wanted(query)
    text = before + [query, query.upper(), query.lower(), query.swapcase()][change] + before
    raw = encode(said(1, text))
    if wanted.text.search(orjson.loads(raw)["text"]):
        assert wanted.may_be_in(raw)


def test_lines_without_it_are_not_parsed() -> None:
    assert not Wanted("烤鸭").may_be_in(encode(said(1, "北京")))
    assert not Wanted("Hello World").may_be_in(encode(said(1, "good night")))
    assert Wanted("HELLO").may_be_in(encode(said(1, "oh, hello")))


def test_a_snippet_is_one_line_around_the_match() -> None:
    text = "x" * 100 + "\nneedle\n" + "y" * 100
    assert snippet(text, 101, 107) == "…" + "x" * 59 + " needle " + "y" * 59 + "…"
    assert snippet("needle", 0, 6) == "needle"

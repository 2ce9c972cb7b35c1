"""Code and tables in lists, as Telegram shows them: on lines of their own, and marked where they stand."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from channels.telegram.render import render_markdown

CODE = "```bash\n   pip install x\n   ```"


def marked(markdown: str, kind: str) -> list[str]:
    """The texts under entities of this kind."""
    rendered = render_markdown(markdown)
    data = rendered.text.encode("utf-16-le")
    return [data[2 * e["offset"] : 2 * (e["offset"] + e["length"])].decode("utf-16-le")
            for e in rendered.entities if e["type"] == kind]  # fmt: skip


@pytest.mark.parametrize(
    ("markdown", "text", "pre"),
    [
        (f"1. Install:\n   {CODE}\n2. Run", "1. Install:\npip install x\n2. Run", ["pip install x"]),
        (f"1. Install:\n\n   {CODE}\n\n2. Run", "1. Install:\npip install x\n2. Run", ["pip install x"]),
        ("- 👨‍👩‍👧 **b**\n  ```\n  c\n  ```\n- d", "⦁ 👨‍👩‍👧 b\nc\n⦁ d", ["c"]),
        (
            "1. x\n   | a | b |\n   |---|---|\n   | 1 | 2 |\n2. y",
            "1. x\na | b\n--+--\n1 | 2\n2. y",
            ["a | b\n--+--\n1 | 2"],
        ),
        ("so $$b$$ it is", "so \nb\n it is", ["b"]),
        ("```\nalone\n```", "alone", ["alone"]),
    ],
)
def test_a_block_stands_on_lines_of_its_own(markdown: str, text: str, pre: list[str]) -> None:
    assert render_markdown(markdown).text == text
    assert marked(markdown, "pre") == pre


def test_other_marks_stay_where_they_were() -> None:
    markdown = f"1. **First 🎉** step:\n   {CODE}\n2. *second* `c`\n\n> quoted"
    assert (marked(markdown, "bold"), marked(markdown, "italic")) == (["First 🎉"], ["second"])
    assert (marked(markdown, "code"), marked(markdown, "blockquote")) == (["c"], ["quoted"])


PARTS = st.sampled_from(
    [
        "1. a",
        "   ```\n   x\n   ```",
        "**b** 👍",
        "> q",
        "- l",
        "  ```\n  y\n  ```",
        "",
        "| a | b |",
        "|---|---|",
        "$$z$$",
        "`c`",
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.lists(PARTS, max_size=12).map("\n".join))
def test_whatever_it_is_every_mark_lies_inside_and_every_block_on_lines_of_its_own(markdown: str) -> None:
    rendered = render_markdown(markdown)
    data = rendered.text.encode("utf-16-le")
    for entity in rendered.entities:
        start, end = 2 * entity["offset"], 2 * (entity["offset"] + entity["length"])
        assert 0 <= start < end <= len(data)
        if entity["type"] == "pre":
            edge = "\n".encode("utf-16-le")
            assert start == 0 or edge in (data[start - 2 : start], data[start : start + 2])
            assert end == len(data) or edge in (data[end : end + 2], data[end - 2 : end])

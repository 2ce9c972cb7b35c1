"""Lines known by what stands around their text: never another answer than that of the full parser."""

import random
from typing import Any

import orjson
import pytest

from agent.llm.stream import ReplyStream
from agent.llm.stream_template import Template

TEXTS = ["word ", "é", '"', "\\", "\n", '","x":"', "😀", '"content":"', "", " ", "data: ", "\u2028", "}]}"]


def event(text: str, **more: object) -> dict[str, object]:
    return {"id": "c", "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": None}]}


def line(text: str, **more: object) -> bytes:
    return b"data: " + orjson.dumps(event(text, **more))


def learnt(said: bytes, parsed: Any, text: str) -> Template:
    """From the second piece on: the first one is handed on without a lesson."""
    template = Template()
    for _ in range(2):
        assert template.text(said) is None
        template.learn(said, parsed, text)
    return template


def test_texts_of_every_kind_come_out_as_the_full_parser_has_them() -> None:
    chance = random.Random(1)
    for _ in range(200):
        texts = chance.choices(TEXTS, k=12)
        got: list[str] = []
        stream = ReplyStream(got.append)
        stream.feed(b"\n\n".join(line(text) for text in texts) + b"\n\n")
        assert got == [text for text in texts if text]


def test_a_line_that_fits_is_not_parsed_in_full() -> None:
    template = learnt(line("one"), event("one"), "one")
    assert template.text(line("two")) == "two"


@pytest.mark.parametrize(
    "other",
    [
        line("x", tool_calls=[{"index": 0}]),
        line("x").replace(b"null", b'"stop"'),
        line("x").replace(b'"x"', b"null"),
        line("x").replace(b'"x"', b'"x","content":"y"'),
        line("x").replace(b'"x"', b'"x","refusal":"y"'),
        line("x").replace(b'"x"', b'"\\ud83d"'),
        line("x")[:-3],
        line("x") + b"x",
        b"data: [DONE]",
    ],
)
def test_a_line_that_says_anything_else_does_not_fit(other: bytes) -> None:
    template = learnt(line("one"), event("one"), "one")
    assert template.text(other) is None


def test_a_text_that_looks_like_the_place_of_the_text_teaches_nothing() -> None:
    for said in (b'{"a":"x","choices":[{"delta":{"content":"x"},"note":{"content":"x"}}]}',
                 b'{"note":{"content":"x"},"choices":[{"delta":{"content":"x"}}]}'):  # fmt: skip
        template = learnt(b"data: " + said, orjson.loads(said), "x")
        fits = template.text(b"data: " + said.replace(b'"delta":{"content":"x"}', b'"delta":{"content":"y"}'))
        assert fits in (None, "y")
        assert template.text(b"data: " + said.replace(b'"note":{"content":"x"}', b'"note":{"content":"y"}')) is None


def test_half_an_emoji_and_its_other_half_are_one() -> None:
    got: list[str] = []
    stream = ReplyStream(got.append)
    whole = [line("a"), line("b"), line("x").replace(b'"x"', b'"\\ud83d"'), line("x").replace(b'"x"', b'"\\ude00"')]
    stream.feed(b"\n".join([*whole, line("c"), b""]))
    assert "".join(got) == "ab😀c"


def test_noise_of_random_length_is_no_hindrance() -> None:
    got: list[str] = []
    stream = ReplyStream(got.append)
    for number in range(20):
        stream.feed(line("w", obfuscation="x" * number) + b"\n\n")
    assert "".join(got) == "w" * 20

"""The choice of a mode: pure, cheap, with a reason."""

import time

import pytest

from agent.modes.choose import MODES, choose


@pytest.mark.parametrize(
    ("text", "mode"),
    [
        ("hi", "fast"), ("你好！", "fast"), ("What is a monad?", "fast"), ("read ~/notes.txt", "single"),
        ("现在几点？", "single"), ("and why?" , "fast"), ("1. search cats\n2. search dogs\n3. search birds", "multi"),
        ("- read a\n- read b", "single"), ("do:\n\n  - a\n\n\u3000- b\n\n\n\t- c", "multi"),
    ],
)  # fmt: skip
def test_rules(text: str, mode: str) -> None:
    choice = choose(text, tools=5)
    assert (choice.mode, bool(choice.reason)) == (mode, True)


def test_what_was_asked_for_wins() -> None:
    assert choose("hi", configured="multi", tools=3, asked="single").mode == "single"
    assert choose("hi", configured="multi", tools=3, asked="auto").mode == "multi"
    assert choose("hi", configured="auto", tools=3, asked=None).mode == "fast"


def test_without_tools_there_is_nothing_to_choose() -> None:
    assert choose("1. a\n2. b\n3. c").mode == "single"
    assert choose("hi", tools=3, media=1).mode == "single"


@pytest.mark.quiet
def test_it_costs_microseconds() -> None:
    text = "please compare these two things " * 100
    start = time.perf_counter()
    for _ in range(200):
        assert choose(text, tools=9).mode in MODES
    assert (time.perf_counter() - start) / 200 < 0.005


def test_whatever_somebody_writes_is_read_once() -> None:
    for text in ("x" + "\n" * 100_000 + "x", "hi" + " " * 100_000 + "x", "-\n" * 50_000, "1" * 100_000):
        start = time.thread_time()
        choose(text, tools=9)
        assert time.thread_time() - start < 1

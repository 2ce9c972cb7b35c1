"""Drawing a growing answer: in time, and where it grows."""

import io
import time
from typing import Any

from rich.console import Console

from channels.cli.screen import Screen


def grown(text: str, *, piece: int = 8, **size: Any) -> tuple[str, float]:
    """Everything that was written while `text` grew, before its end was known; and how many seconds that took."""
    out = io.StringIO()
    screen = Screen(Console(file=out, force_terminal=True, **size), "en")
    begun = time.process_time()
    for at in range(0, len(text), piece):
        screen.show({"type": "chat.delta", "delta": text[at : at + piece]})
    screen.catch_up()
    return out.getvalue(), time.process_time() - begun


def test_a_long_answer_costs_no_more_for_being_long():
    """Each delta once read all that had grown: 100,000 characters of code took a quarter of a minute."""
    _, seconds = grown("```\n" + "x = some_code(1, 2)  # note\n" * 3500, width=100, height=30)
    assert seconds < 3


def test_where_a_long_paragraph_grows_is_what_is_seen():
    shown, _ = grown("some words of it " * 300 + "and here it grows", width=60, height=12)
    assert "and here it grows" in shown
    shown, _ = grown("一个很长的段落" * 300 + "在这里生长", width=60, height=12)
    assert "在这里生长" in shown

"""What a person is shown who says yes at the terminal: all of it, and nothing that hides."""

import io
import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bridge.cli.watching import approve
from bridge.confirm import shown
from bridge.database import Database
from bridge.local import Asked
from bridge.terminal import ask_at_terminal, revealed

HIDING = {"path": "/tmp/\u202etxt.exe", "note": "a\u200bb\u009b2J\x7f\x1b[31m\U000e0041"}


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=20) | st.integers(), max_size=4))
def test_what_is_revealed_is_printable_and_means_the_same(arguments: dict[str, Any]) -> None:
    text = revealed(json.dumps(arguments, ensure_ascii=False, indent=1))
    assert all(character.isprintable() or character == "\n" for character in text)
    assert json.loads(text) == arguments


@pytest.mark.attack(46)
def test_what_waits_is_listed_with_what_hides_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("version: '1.0'\n")
    database = Database(tmp_path / "ledger.sqlite")
    database.change(
        "INSERT INTO challenges (challenge, call_id, tool, content, user, shown, risk, expires, local) "
        "VALUES ('abc', 'c', 'run', 'h', 'u', ?, 'no rule', ?, 1)", (shown(HIDING), time.time() + 60),
    )  # fmt: skip
    database.close()
    assert approve(None, config=config) == 0
    told = capsys.readouterr().out
    assert told.startswith("abc  run  ") and told.rstrip("\n").isprintable()
    assert "\\u202etxt.exe" in told and "\\u200b" in told and "\\u009b2J\\u007f\\u001b[31m" in told


@pytest.mark.attack(46)
def test_what_is_not_shown_of_long_arguments_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    padded = {**HIDING, "pad": " " * 4000, "then": "rm -rf /"}
    assert ask_at_terminal(Asked("run", "no rule", "Runs.", padded)) is False
    told = capsys.readouterr().err
    assert "\\u202etxt.exe" in told and "more characters)" in told and "rm -rf" not in told
    assert "more characters)" in shown({"pad": "x" * 20_000}) and "more" not in shown({"pad": "x"})

"""A slash command in the forms that people's keyboards give it."""

import pytest

from bus.commands import COMMANDS, parse


@pytest.mark.parametrize(
    ("text", "name", "rest"),
    [
        ("/stop", "stop", ""),
        ("/stop@b_bot", "stop", ""),
        ("/STOP@B_bot", "stop", ""),
        ("/link\u3000ABCD-EFGH", "link", "ABCD-EFGH"),
        ("\uff0flink ABCD-EFGH", "link", "ABCD-EFGH"),
        ("\uff0fstop", "stop", ""),
        ("/link\u00a0ABCD-EFGH", "link", "ABCD-EFGH"),
        ("/link\nABCD-EFGH", "link", "ABCD-EFGH"),
        ("/approve@b_bot\tap_1 always", "approve", "ap_1 always"),
        ("/language  zh ", "language", "zh"),
        ("/start", "start", ""),
        ("/start deep-link", "start", "deep-link"),
    ],
)
def test_it_is_the_command(text: str, name: str, rest: str) -> None:
    found = parse(text)
    assert found is not None
    assert (found[0].name, found[1]) == (name, rest)


@pytest.mark.parametrize("text", ["", "/", "\uff0f", "/ stop", "stop", "//stop", "/stopp", "say /stop", "/@b_bot"])
def test_it_is_none(text: str) -> None:
    assert parse(text) is None


def test_what_platforms_send_by_themselves_is_in_no_menu() -> None:
    assert "start" not in {command.name for command in COMMANDS}

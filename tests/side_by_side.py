"""How the suite is dealt out to several workers (`pytest -n`): a file is one worker's, and the browser's folder too.

The tests mostly wait, for processes to start and for deadlines to pass, so workers side by side take a fraction of the
time. What takes longest begins first, or one worker would be left alone with it in the end. Tests that measure time
carry the mark `quiet`: `make test` runs them afterwards, alone.
"""

from collections.abc import Sequence
from typing import Any

import pytest

LONGEST = (
    "tests/test_packaging.py",
    "tests/browser/",
    "tests/e2e/",
    "tests/contract",
    "tests/channels/",
    "tests/bridge/",
)
TOGETHER = ("tests/browser/",)
"""One browser and one gateway serve all of these."""


def room(nodeid: str) -> str:
    """What has to stay in one worker with this test."""
    for folder in TOGETHER:
        if nodeid.startswith(folder):
            return folder
    return nodeid.split("::", 1)[0]


def place(nodeid: str) -> int:
    """What is to begin first has the lowest."""
    return next((number for number, name in enumerate(LONGEST) if nodeid.startswith(name)), len(LONGEST))


def make_scheduler(config: pytest.Config, log: Any) -> Any:
    """pytest-xdist's own for whole files, with rooms."""
    from xdist.scheduler import LoadScopeScheduling

    class Rooms(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return room(nodeid)

    config.option.loadscopereorder = False
    return Rooms(config, log)


def speakable(report: pytest.TestReport) -> pytest.TestReport:
    """A report that can be sent: what a hostile test printed may hold half a character."""
    report.sections = [(title, _whole(text)) for title, text in report.sections]
    if report.longrepr is not None and not isinstance(report.longrepr, tuple):
        text = str(report.longrepr)
        if _whole(text) != text:
            report.longrepr = _whole(text)
    return report


def _whole(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def in_order(items: Sequence[pytest.Item]) -> list[pytest.Item]:
    """Those that take longest first; otherwise as they came."""
    return sorted(items, key=lambda item: place(item.nodeid))

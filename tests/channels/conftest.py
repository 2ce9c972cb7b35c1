"""What all tests of channels share."""

import pytest

from tests.channels.pace import quick_failures


@pytest.fixture(autouse=True)
def short_waits(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over sockets, failures are waited out more quickly; with a clock turned by hand they last as long as they do."""
    if {"rig", "stage", "telegram", "paper"} & set(request.fixturenames):
        quick_failures(monkeypatch.setattr)

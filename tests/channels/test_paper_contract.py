"""A sixth channel, from another package by its entry point, under the contract of all channels."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from channels import registry
from channels.settings import ChannelsSettings
from tests.contracts.channel_contract import ChannelContract, FakePlatform, Fault
from tests.fakes.paper_channel import OFFICES, Note, Office, PaperSettings


class PaperPlatform(FakePlatform):
    name = "paper"
    remembers_nonces = False
    limit = 500
    group = "room-1"
    other_group = "room-2"
    has_threads = False

    def __init__(self) -> None:
        self.office = Office()
        self.said: list[Note] = []
        self.numbers = itertools.count(1)

    async def start(self) -> None:
        OFFICES["main"] = self.office

    async def stop(self) -> None:
        del OFFICES["main"]

    def section(self) -> dict[str, Any]:
        return {}

    def _post(self, note: Note) -> str:
        self.said.append(note)
        self.office.post(note)
        return note.number

    async def person_says(
        self, text: str, *, person: str = "42", group: str | None = None, mentioned: bool = False,
        thread: str | None = None, bot: bool = False,
    ) -> str:  # fmt: skip
        return self._post(Note(f"l{next(self.numbers)}", group or person, person, text, mentioned, bot=bot))

    async def person_edits(self, message_id: str, text: str, *, person: str = "42") -> None:
        self._post(Note(f"l{next(self.numbers)}", person, person, text, edits=message_id))

    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        mime = "image/png" if kind == "photo" else "application/octet-stream"
        return self._post(Note(f"l{next(self.numbers)}", person, person, caption, file=data, mime=mime))

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        notes = self.office.walls[group or person].values()
        data = next(data for note in notes for text, data in note.buttons if label in text)
        self._post(Note(f"l{next(self.numbers)}", group or person, person, "", pressed=data))

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        notes = self.office.walls.get(group or person, {}).values()
        return any(label in text for note in notes for text, _ in note.buttons)

    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        return [note.text for note in self.office.walls.get(group or person, {}).values()]

    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        self.office.faults = [*self.office.faults, *[fault] * times] if times else []

    async def outage(self, on: bool) -> None:
        self.office.closed = on

    async def deliver_again(self) -> None:
        self.office.post(self.said[-1])

    async def refuse_token(self, refused: bool) -> None:
        self.office.keys_changed = refused


@pytest.fixture(autouse=True)
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The stranger's package, as pip leaves it."""
    folder: Path = tmp_path_factory.mktemp("site")
    metadata = folder / "paper_office-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: paper-office\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[busgate.channels]\npaper = tests.fakes.paper_channel:PaperChannel\ntelegram = json:loads\n"
    )
    sys.path.insert(0, str(folder))
    registry.third_party.cache_clear()
    yield
    sys.path.remove(str(folder))
    registry.third_party.cache_clear()


class TestPaper(ChannelContract):
    def make_platform(self) -> FakePlatform:
        return PaperPlatform()


def test_its_section_is_checked_by_its_own_settings() -> None:
    settings = ChannelsSettings.model_validate({"paper": {"enabled": True, "office": "attic"}})
    found = settings.of("paper")
    assert isinstance(found, PaperSettings)
    assert found.office == "attic"
    assert settings.names() == ["telegram", "discord", "feishu", "paper"]
    with pytest.raises(ValidationError) as caught:
        ChannelsSettings.model_validate({"paper": {"ofice": "attic"}, "pager": {}})
    assert [(e["type"], e["loc"]) for e in caught.value.errors()] == [
        ("extra_forbidden", ("paper", "ofice")),
        ("extra_forbidden", ("pager",)),
    ]


def test_no_package_takes_the_place_of_a_channel_of_ours() -> None:
    assert set(registry.third_party()) == {"paper"}

"""The smallest channel, installed as a stranger's package, and a gateway's channels on it."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from channels import registry
from tests.channels.paper.platform import PaperPlatform
from tests.channels.rig import Rig


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


@pytest.fixture
async def paper() -> AsyncIterator[PaperPlatform]:
    platform = PaperPlatform()
    await platform.start()
    yield platform
    await platform.stop()


@pytest.fixture
async def rig(paper: PaperPlatform, tmp_path: Path, installed: None) -> AsyncIterator[Rig]:
    section = {"enabled": True, "allow_from": ["42"], "groups": {"room-1": {"allow_from": ["42", "7"]}}}
    async with Rig(tmp_path, {"paper": section}).running("paper") as rig:
        yield rig

"""A sixth channel, from another package by its entry point, under the contract of all channels."""

import pytest
from pydantic import ValidationError

from channels import registry
from channels.settings import ChannelsSettings
from tests.channels.paper.platform import PaperPlatform
from tests.contracts.channel_contract import ChannelContract, FakePlatform
from tests.fakes.paper_channel import PaperSettings


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

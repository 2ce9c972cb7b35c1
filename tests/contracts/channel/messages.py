"""Repetition, edits and files."""

import asyncio
from pathlib import Path

import pytest

from tests.channels.rig import Rig, until
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import PNG, FakePlatform


class Messages(Bench):
    """A part of the suite."""

    @pytest.mark.attack(55)
    async def test_a_repeated_message_is_one_turn_after_a_restart_too(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_says("once")
        await self.shown(platform, "You said: once")
        await platform.deliver_again()
        await self.quiet()
        await rig.crash()
        await rig.start()
        await rig.ready(platform.name)
        await platform.deliver_again()
        await self.shown(platform, "You said: once")
        assert len(rig.agent.messages) == 1

    async def test_an_edited_message_replaces_its_first_form(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_edits_by_people:
            return
        said = await platform.person_says("fisrt")
        await self.shown(platform, "You said: fisrt")
        await platform.person_edits(said, "first")
        await self.shown(platform, "You said: fisrt", "You said: first")
        first, second = rig.agent.messages
        assert second.replaces == first.message_id

    async def test_a_picture_comes_in(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_sends(PNG, caption="look")
        await until(lambda: rig.agent.messages)
        message = rig.agent.messages[0]
        assert message.text == "look"
        assert message.media[0].mime.startswith("image/")
        assert await rig.media.read(message.media[0], message.actor.user) == PNG

    async def test_a_file_that_is_too_large_is_not_taken_and_that_is_said(
        self, platform: FakePlatform, tmp_path: Path
    ) -> None:
        section = {"enabled": True, **platform.section(), "allow_from": ["42"], "max_media_bytes": 1000}
        rig = Rig(tmp_path / "small", {platform.name: section})
        async with rig.running(platform.name):
            await platform.person_sends(b"x" * 5000, kind="document", caption="read this")
            await until(lambda: rig.agent.messages)
            assert rig.agent.messages[0].media == ()
            end = asyncio.get_running_loop().time() + 5
            while not any("too large" in text for text in await platform.visible()):
                assert asyncio.get_running_loop().time() < end
                await asyncio.sleep(0.02)

"""Who may speak, where."""

import pytest

from tests.channels.rig import Rig, until
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import FakePlatform


class Admission(Bench):
    """A part of the suite."""

    @pytest.mark.attack(57)
    async def test_a_stranger_gets_one_hint_and_reaches_nothing(self, platform: FakePlatform, rig: Rig) -> None:
        for _ in range(3):
            await platform.person_says("let me in", person="666")
        await until(lambda: rig.pairing.pending(0))
        await self.quiet()
        seen = await platform.visible(person="666")
        assert len(seen) == 1
        assert "pair approve" in seen[0]
        assert rig.agent.messages == []

    @pytest.mark.attack(60)
    async def test_bots_are_not_heard(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_says("beep", bot=True)
        await platform.person_says("real")
        await self.shown(platform, "You said: real")

    @pytest.mark.attack(59)
    async def test_groups_answer_when_spoken_to_and_keep_the_rest_as_context(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        if not platform.has_groups:
            return
        await platform.person_says("lunch at noon", person="7", group=platform.group)
        await until(lambda: len(rig.agent.messages) == 1)
        await platform.person_says("stranger's word", person="666", group=platform.group)
        await platform.person_says("when is lunch?", person="42", group=platform.group, mentioned=True)
        await self.shown(platform, "You said: when is lunch?", group=platform.group)
        context, asked = rig.agent.messages
        assert not context.wants_reply
        assert context.text.endswith(": lunch at noon")
        assert asked.wants_reply
        assert asked.session.text == f"agent:main:{platform.name}:group:{platform.group}" == context.session.text

    @pytest.mark.attack(59)
    async def test_a_group_that_is_not_listed_is_not_heard(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_groups:
            return
        await platform.person_says("hey", person="42", group=platform.other_group, mentioned=True)
        await self.quiet()
        assert await platform.visible(group=platform.other_group) == []
        assert rig.agent.messages == []

    async def test_a_thread_is_a_session_of_its_own(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_threads:
            return
        await platform.person_says("in here", group=platform.group, thread=platform.thread, mentioned=True)
        await self.shown(platform, "You said: in here", group=platform.group, thread=platform.thread)
        key = rig.agent.messages[0].session.text
        assert key.startswith(f"agent:main:{platform.name}:group:{platform.group}:")
        assert key.endswith(f":{platform.thread}")

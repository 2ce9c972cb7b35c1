"""What a tool server asks in the middle of a call."""

import asyncio
from typing import Any

import pytest

from tests.channels.rig import Rig, Turn, until
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import FakePlatform


def asking(**field: Any) -> dict[str, Any]:
    """A form with one field, as MCP writes it."""
    return {"type": "object", "properties": {"it": field}, "required": ["it"]}


class Questions(Bench):
    """A part of the suite."""

    async def _seen(self, platform: FakePlatform, part: str, **where: Any) -> str:
        found: list[str] = []
        async with asyncio.timeout(10):
            while not found:
                await asyncio.sleep(0.02)
                found = [text for text in await platform.visible(**where) if part in text]
        return found[0]

    async def test_a_choice_is_made_by_a_button_of_who_was_asked(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_buttons:
            return
        where = {"group": platform.group} if platform.has_groups else {}

        async def work(turn: Turn) -> None:
            action, content = await turn.inquire(asking(type="string", enum=["red", "green"]))
            turn.say(f"{action}: {content['it']}")
            turn.done()

        rig.agent.script = work
        await platform.person_says("paint it", person="42", mentioned=True, **where)
        async with asyncio.timeout(10):
            while not await platform.has_button("green", **where):
                await asyncio.sleep(0.02)
        assert await platform.has_button("Don't answer", **where)
        await platform.person_taps("green", person="7", **where)
        await self.quiet()
        assert rig.agent.answers == []
        await platform.person_taps("green", person="42", **where)
        await self._seen(platform, "accept: green", **where)
        assert "✅ green" in await self._seen(platform, "Which one?", **where)
        assert not await platform.has_button("green", **where)
        assert [answer[:3] for answer in rig.agent.answers] == [("q1", "accept", {"it": "green"})]

    async def test_a_text_is_the_answer_and_no_turn_of_its_own(self, platform: FakePlatform, rig: Rig) -> None:
        async def work(turn: Turn) -> None:
            if "name it" not in turn.message.text:
                turn.say("a turn")
                turn.done()
                return
            action, content = await turn.inquire(asking(type="integer", minimum=3), "How many?")
            turn.say(f"{action}: {content['it']}")
            turn.done()

        rig.agent.script = work
        await platform.person_says("name it")
        await self._seen(platform, "How many?")
        await platform.person_says("two")
        await self._seen(platform, "A number is needed (3 … ).")
        assert rig.agent.answers == []
        await platform.person_says("4")
        await self._seen(platform, "accept: 4")
        await platform.deliver_again()
        await self.quiet()
        assert rig.agent.texts == ["name it"]
        await platform.person_says("5")
        await self._seen(platform, "a turn")

    @pytest.mark.attack(59)
    async def test_a_text_of_somebody_else_is_no_answer(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_groups:
            return

        async def work(turn: Turn) -> None:
            _, content = await turn.inquire(asking(type="string"), "Which branch?")
            turn.say(f"branch {content['it']}")
            turn.done()

        rig.agent.script = work
        await platform.person_says("merge", person="42", group=platform.group, mentioned=True)
        await self._seen(platform, "Which branch?", group=platform.group)
        await platform.person_says("evil", person="7", group=platform.group, mentioned=True)
        await until(lambda: len(rig.agent.messages) == 2)
        assert rig.agent.answers == []
        await platform.person_says("main", person="42", group=platform.group)
        await until(lambda: len(rig.agent.messages) == 3)
        assert not rig.agent.messages[2].wants_reply
        assert rig.agent.answers == []
        await platform.person_says("main", person="42", group=platform.group, mentioned=True)
        await self._seen(platform, "branch main", group=platform.group)
        assert [answer[3] for answer in rig.agent.answers] == [rig.agent.messages[0].actor.user]

"""Questions with buttons."""

import asyncio

from tests.channels.rig import Rig, Turn, until
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import FakePlatform


class Approvals(Bench):
    """A part of the suite."""

    async def test_buttons_decide_for_the_requester_alone_and_only_once(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_buttons:
            return
        where = {"group": platform.group} if platform.has_groups else {}

        async def asking(turn: Turn) -> None:
            turn.ask("apr_1")
            await until(lambda: rig.agent.decisions)
            turn.say("deleted")
            turn.done()

        rig.agent.script = asking
        await platform.person_says("delete it", person="42", mentioned=True, **where)
        while not await platform.has_button("Allow once", **where):
            await asyncio.sleep(0.02)
        for label in ("Allow for this session", "Always allow", "Deny"):
            assert await platform.has_button(label, **where)
        await platform.person_taps("Allow once", person="7", **where)
        await self.quiet()
        assert rig.agent.decisions == []
        await platform.person_taps("Allow once", person="42", **where)
        await until(lambda: rig.agent.decisions)
        assert [d[:2] for d in rig.agent.decisions] == [("apr_1", "allow_once")]
        end = asyncio.get_running_loop().time() + 10
        while await platform.has_button("Allow once", **where) or "deleted" not in await platform.visible(**where):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        question = next(text for text in await platform.visible(**where) if "fs_delete_file" in text)
        assert "Allowed once" in question

    async def test_buttons_survive_a_restart(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_buttons:
            return

        async def asking(turn: Turn) -> None:
            turn.ask("apr_1")
            await asyncio.sleep(60)

        rig.agent.script = asking
        await platform.person_says("delete it")
        while not await platform.has_button("Deny"):
            await asyncio.sleep(0.02)
        asked = rig.agent.asked
        await rig.crash()
        await rig.start(resume=False)
        await rig.ready(platform.name)
        for turn in asked.values():
            turn.agent = rig.agent
        rig.agent.asked.update(asked)
        await platform.person_taps("Deny")
        await until(lambda: rig.agent.decisions)
        assert rig.agent.decisions[0][:2] == ("apr_1", "deny")
        end = asyncio.get_running_loop().time() + 10
        while await platform.has_button("Deny"):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        assert "Denied" in (await platform.visible())[0]

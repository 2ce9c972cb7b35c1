"""What goes wrong on the way out."""

import asyncio
from pathlib import Path

import pytest

from tests.channels.rig import Rig, Turn, echo, until
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import FakePlatform, Fault


class Faults(Bench):
    """A part of the suite."""

    @pytest.mark.attack(62)
    @pytest.mark.parametrize("fault", ["rate_limited", "unavailable"])
    async def test_a_passing_trouble_delays_the_one_answer(
        self, platform: FakePlatform, rig: Rig, fault: Fault
    ) -> None:
        await platform.fail_next(fault)
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        assert await rig.manager.deliveries() == []

    @pytest.mark.attack(64)
    async def test_a_lost_answer_of_the_platform_never_doubles_ours(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.fail_next("answer_lost")
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        listed = await rig.manager.deliveries()
        if platform.remembers_nonces:
            assert listed == []
        else:
            assert [(d["state"], d["channel"], d["chat_id"]) for d in listed] == [("unknown", platform.name, "42")]
            assert listed[0]["preview"] == "You said: hello"
            assert await rig.manager.resend(listed[0]["delivery_id"])
            await self.shown(platform, "You said: hello", "You said: hello")

    @pytest.mark.attack(63)
    async def test_a_refusal_is_listed_after_one_try_and_can_be_sent_again(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        await platform.fail_next("blocked")
        await platform.person_says("hello")
        end = asyncio.get_running_loop().time() + 5
        while not (listed := await rig.manager.deliveries()):
            assert asyncio.get_running_loop().time() < end
            await asyncio.sleep(0.02)
        await self.quiet()
        assert await platform.visible() == []
        assert listed[0]["state"] == "refused"
        assert await rig.manager.resend(listed[0]["delivery_id"])
        await self.shown(platform, "You said: hello")
        assert await rig.manager.deliveries() == []

    @pytest.mark.attack(62)
    async def test_an_outage_degrades_this_channel_and_heals(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.outage(True)

        async def answer_late(turn: Turn) -> None:
            await asyncio.sleep(0.2)
            await echo(turn)

        rig.agent.script = answer_late
        await until(lambda: rig.state(platform.name) in ("degraded", "failed"), 20)
        assert rig.manager.states()[platform.name]["reason"]
        await platform.outage(False)
        await platform.person_says("after the storm")
        await self.shown(platform, "You said: after the storm", seconds=20)
        await until(lambda: rig.state(platform.name) == "ready", 20)
        assert "reason" not in rig.manager.states()[platform.name]

    async def test_one_slow_chat_holds_up_no_other(self, platform: FakePlatform, rig: Rig) -> None:
        if not platform.has_groups:
            return
        await platform.fail_next("rate_limited")
        await platform.person_says("first")
        await until(lambda: rig.agent.messages)
        await asyncio.sleep(0.2)
        began = asyncio.get_running_loop().time()
        await platform.person_says("second", group=platform.group, mentioned=True)
        while await platform.visible(group=platform.group) != ["You said: second"]:
            assert asyncio.get_running_loop().time() - began < 5
            await asyncio.sleep(0.02)
        await self.shown(platform, "You said: first")

    @pytest.mark.attack(62)
    async def test_a_refused_token_is_said_and_heals_by_itself(self, platform: FakePlatform, tmp_path: Path) -> None:
        if not platform.refuses_tokens:
            return
        await platform.refuse_token(True)
        section = {"enabled": True, **platform.section(), "allow_from": ["42"]}
        rig = Rig(tmp_path / "other", {platform.name: section})
        await rig.start()
        try:
            await until(lambda: rig.state(platform.name) == "failed", 15)
            assert rig.manager.states()[platform.name]["reason"]
            await platform.refuse_token(False)
            await until(lambda: rig.state(platform.name) == "ready", 15)
            await platform.person_says("hello")
            await self.shown(platform, "You said: hello")
        finally:
            await rig.crash()

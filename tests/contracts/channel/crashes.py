"""Overload, and a process that ends."""

import asyncio

from tests.channels.rig import Rig, Turn, overloaded, until
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import FakePlatform


class Crashes(Bench):
    """A part of the suite."""

    async def test_an_overloaded_gateway_is_waited_for(self, platform: FakePlatform, rig: Rig) -> None:
        rig.agent.refuse = overloaded(2)
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")

    async def test_what_was_not_durable_before_a_crash_comes_again(self, platform: FakePlatform, rig: Rig) -> None:
        rig.agent.holding = asyncio.Event()
        await platform.person_says("hello")
        await asyncio.sleep(0.2)
        await rig.crash()
        assert rig.memory.accepted == {}
        await rig.start()
        await rig.ready(platform.name)
        await self.shown(platform, "You said: hello", seconds=15)
        assert len(rig.agent.messages) == 1

    async def test_a_crash_in_mid_stream_ends_in_one_whole_answer(self, platform: FakePlatform, rig: Rig) -> None:
        async def crashing(turn: Turn) -> None:
            turn.say("half of the ")
            if turn.attempt > 1:
                turn.say("answer and the rest")
                turn.done()
            else:
                await asyncio.sleep(60)

        rig.agent.script = crashing
        rig.script = crashing
        await platform.person_says("go")
        await asyncio.sleep(0.6)
        await rig.crash()
        await rig.start()
        await self.shown(platform, "half of the answer and the rest", seconds=15)

    async def test_an_answer_that_nobody_delivered_before_a_crash_is_delivered_after_it(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        await platform.fail_next("unavailable", 50)
        await platform.person_says("hello")
        await until(lambda: rig.memory.ended)
        await asyncio.sleep(0.1)  # between two tries: a stop under a send would leave its outcome unknown
        await rig.crash()
        await platform.fail_next("unavailable", 0)
        await rig.start()
        await self.shown(platform, "You said: hello", seconds=15)

"""What is said and answered."""

import asyncio

from bus.events import Actor, ChatError, InboundMessage
from tests.channels.rig import Rig, Turn
from tests.contracts.channel.bench import Bench
from tests.contracts.channel.platform import PNG, FakePlatform


class Talking(Bench):
    """A part of the suite."""

    async def test_a_message_gets_one_answer(self, platform: FakePlatform, rig: Rig) -> None:
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        message = rig.agent.messages[0]
        assert message.session.text == f"agent:main:{platform.name}:direct:42"
        assert message.actor.identity.startswith(f"{platform.name}:")
        assert message.actor.identity.endswith(":42")

    async def test_what_was_asked_at_another_client_is_shown_before_its_answer(
        self, platform: FakePlatform, rig: Rig
    ) -> None:
        await platform.person_says("hello")
        await self.shown(platform, "You said: hello")
        first = rig.agent.messages[0]
        message = InboundMessage(
            session=first.session, actor=Actor(user=first.actor.user), text="from\nthe browser", message_id="msg_ws",
            received_at=0, origin="ws-1",
        )  # fmt: skip
        await rig.bus.submit(message)
        await self.settled(platform, 3)
        _, asked, answer = await platform.visible()
        assert "From another client" in asked
        assert asked.index("from") < asked.index("the browser")
        assert " ".join(answer.split()) == "You said: from the browser"

    async def test_answers_come_in_order(self, platform: FakePlatform, rig: Rig) -> None:
        for number in range(3):
            await platform.person_says(f"m{number}")
        await self.shown(platform, "You said: m0", "You said: m1", "You said: m2", seconds=15)

    async def test_a_stream_ends_in_one_message_with_all_of_it(self, platform: FakePlatform, rig: Rig) -> None:
        async def slowly(turn: Turn) -> None:
            for number in range(16):
                turn.say(f"word{number} ")
                await asyncio.sleep(0.05)
            turn.done()

        rig.agent.script = slowly
        await platform.person_says("go")
        await self.shown(platform, " ".join(f"word{n}" for n in range(16)))

    async def test_a_long_answer_is_split_within_the_limit(self, platform: FakePlatform, rig: Rig) -> None:
        words = " ".join(f"word{number}" for number in range(platform.limit // 4))

        async def long(turn: Turn) -> None:
            turn.say(words)
            turn.done()

        rig.agent.script = long
        await platform.person_says("go")
        end = asyncio.get_running_loop().time() + 15
        while " ".join(" ".join(await platform.visible()).split()) != words:
            assert asyncio.get_running_loop().time() < end, await platform.visible()
            await asyncio.sleep(0.05)
        pieces = await platform.visible()
        assert len(pieces) > 1
        assert all(0 < len(piece) <= platform.limit for piece in pieces)

    async def test_an_error_is_told_and_ends_the_turn(self, platform: FakePlatform, rig: Rig) -> None:
        async def fail(turn: Turn) -> None:
            turn.say("half of it")
            turn.publish(ChatError, code=1004, message="timed out", retryable=True)

        rig.agent.script = fail
        await platform.person_says("go")
        await self.shown(platform, "half of it\n\n⚠️ timed out")

    async def test_what_a_tool_returns_as_picture_is_sent_as_such(self, platform: FakePlatform, rig: Rig) -> None:
        async def draw(turn: Turn) -> None:
            ref = await rig.media.save(PNG, mime="image/png", name="cat.png", owner=turn.message.actor.user)
            turn.tool("draw", (ref,))
            turn.say("a cat")
            turn.done()

        rig.agent.script = draw
        await platform.person_says("draw a cat")
        await self.shown(platform, "[photo]", "a cat")

    async def test_tools_are_shown_beside_the_answer_and_never_in_it(self, platform: FakePlatform, rig: Rig) -> None:
        async def work(turn: Turn) -> None:
            turn.say("result: ")
            turn.tool("fs_read_file")
            await asyncio.sleep(0.3)
            turn.say("42")
            turn.done()

        rig.agent.script = work
        await platform.person_says("go")
        await self.shown(platform, "result: 42")

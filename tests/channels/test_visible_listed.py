"""What a person sees of messages that were deleted, refused at first, or are too long: on Discord and on Feishu."""

import asyncio
from pathlib import Path
from typing import Any

from bus.events import ApprovalRequested
from tests.channels.rig import Rig, until
from tests.channels.test_visible import (
    PARTS,
    WHOLE,
    OnDiscord,
    Stage,
    begin,
    go_on,
    nothing_waits,
    platform,
    stage,
)
from tests.fakes.discord_server import FakeDiscord

__all__ = ["platform", "stage"]


async def test_a_message_that_a_moderator_deletes_in_mid_stream_comes_whole_in_another(tmp_path: Path) -> None:
    """Discord gives a nonce's message back for some minutes, also one that is gone."""
    async with FakeDiscord() as fake:
        on = OnDiscord(fake)
        rig = Rig(tmp_path, on.settings)
        stage = Stage(rig)
        rig.script = stage.play
        async with rig.running("discord"):
            turn = await begin(on, stage)
            fake.world.messages["7042"].remove(fake.world.shown("7042")[0])
            await go_on(turn)
            await until(lambda: fake.visible(on.person) == [WHOLE])
            await nothing_waits(on, stage)
            await asyncio.sleep(0.1)
            assert fake.visible(on.person) == [WHOLE]
            assert await rig.manager.deliveries() == []


async def test_what_was_refused_at_its_first_words_is_sent_again_whole(platform: Any, stage: Stage) -> None:
    platform.fake.faults.add(platform.forbidden())
    await platform.fake.says(platform.person, "?")
    turn = await stage.turn()
    turn.say(PARTS[0])
    await until(lambda: platform.fake.faults.hits)
    await go_on(turn)
    async with asyncio.timeout(5):
        while [each["preview"] for each in await stage.rig.manager.deliveries()] != [WHOLE]:
            await asyncio.sleep(0.02)
    platform.fake.faults.clear()
    (listed,) = await stage.rig.manager.deliveries()
    assert await stage.rig.manager.resend(listed["delivery_id"])
    await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
    await nothing_waits(platform, stage)
    assert await stage.rig.manager.deliveries() == []


async def test_a_question_as_long_as_a_message_still_says_what_was_decided(platform: Any, stage: Stage) -> None:
    await platform.fake.says(platform.person, "?")
    turn = await stage.turn()
    turn.agent.asked["ap_1"] = turn
    turn.publish(
        ApprovalRequested, approval_id="ap_1", call_id="c1", tool="fs_write", arguments={"text": "🙂" * 4000},
        risk="writes", expires_at="2099-01-01T00:00:00Z", user=turn.message.actor.user,
    )  # fmt: skip
    await until(platform.buttons)
    assert platform.fake.visible(platform.person)[0].count("🙂") > 500
    message, button = platform.buttons()[0]
    await platform.fake.presses(platform.person, message, button)
    await until(lambda: not platform.buttons())
    assert "Allowed once" in platform.fake.visible(platform.person)[0]
    assert await stage.rig.manager.deliveries() == []
    turn.done()


async def test_a_list_as_long_as_a_message_still_says_what_was_chosen(platform: Any, stage: Stage) -> None:
    await platform.fake.says(platform.person, "?")
    turn = await stage.turn()
    choices = [f"{number} {'word ' * 11}"[:60] for number in range(40)]
    schema = {"type": "object", "properties": {"it": {"type": "string", "enum": choices}}}
    asking = asyncio.create_task(turn.inquire(schema, "Which one? " * 90))
    await until(platform.buttons)
    await platform.fake.says(platform.person, "7")
    assert await asking == ("accept", {"it": choices[6]})
    await until(lambda: not platform.buttons())
    assert f"✅ {choices[6]}".strip() in platform.fake.visible(platform.person)[0]
    assert await stage.rig.manager.deliveries() == []
    turn.done()

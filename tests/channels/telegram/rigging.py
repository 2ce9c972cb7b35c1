"""What the tests of Telegram share."""

import asyncio
from typing import Any

from tests.channels.rig import Rig, Turn, until
from tests.fakes.telegram_server import FakeTelegram

GROUP = -100200


def section(fake: FakeTelegram, **more: Any) -> dict[str, Any]:
    return {
        "telegram": {
            "enabled": True, "token": fake.token, "base_url": fake.url, "allow_from": ["42"],
            "groups": {str(GROUP): {"allow_from": ["*"]}}, **more,
        }
    }  # fmt: skip


async def slowly(turn: Turn) -> None:
    for number in range(15):
        turn.say(f"w{number} ")
        await asyncio.sleep(0.04)
    turn.done()


async def asking(telegram: FakeTelegram, rig: Rig) -> None:
    """A turn that waits for a yes; its question, with its buttons, is to be seen."""

    async def work(turn: Turn) -> None:
        turn.ask("ap_1")
        await until(lambda: rig.agent.decisions)
        turn.say("done")
        turn.done()

    rig.agent.script = work
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.world.has_buttons(42))

"""What the tests of Telegram share."""

import asyncio
from typing import Any

from tests.channels.rig import Turn
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

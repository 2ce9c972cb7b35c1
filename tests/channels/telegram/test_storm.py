"""Many chats at once under faults of every kind: what stands in each of them in the end, counted."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.channels.rig import Rig, Turn, until
from tests.channels.telegram.rigging import section
from tests.fakes.telegram_server import FakeTelegram

PARTS = ["The answer ", "is forty", "-two, ", "as everyone ", "knows."]
WHOLE = "".join(PARTS)
GROUPS = [-1000 - n for n in range(8)]


async def weather(telegram: FakeTelegram, chance: random.Random) -> None:
    while True:
        await asyncio.sleep(chance.uniform(0.03, 0.12))
        where = chance.choice(["sendMessage", "sendMessage", "editMessageText"])
        kind = chance.choice(["lose_answer", "lose_request", "limited", "unavailable"])
        if kind == "limited":
            telegram.limited(where, 1)
        elif kind == "unavailable":
            telegram.refuse(where, 503, "Service Unavailable")
        else:
            telegram.fault(where, kind=kind)


@pytest.mark.attack(62)
@pytest.mark.attack(64)
@pytest.mark.parametrize(("seed", "crashes"), [(1, 0), (2, 2)])
async def test_a_storm_of_faults_leaves_every_group_one_whole_answer(
    telegram: FakeTelegram, tmp_path: Path, seed: int, crashes: int
) -> None:
    """Never two answers, never a part of one or an empty message; none only where `unknown` is listed for it."""
    chance = random.Random(seed)

    async def answer(turn: Turn) -> None:
        turn.say(PARTS[0])
        await asyncio.sleep(0.7)  # begun before the end, so that the text travels in edits
        for part in PARTS[1:]:
            turn.say(part)
            await asyncio.sleep(chance.uniform(0, 0.2))
        turn.done()

    groups = {str(group): {"allow_from": ["*"]} for group in GROUPS}
    rig = Rig(tmp_path, section(telegram, groups=groups), answer)
    await rig.start()
    await rig.ready("telegram")
    storm = asyncio.create_task(weather(telegram, chance))
    for group in GROUPS:
        telegram.world.person_says(group, "@b_bot go", user=7)
    for _ in range(crashes):
        await asyncio.sleep(chance.uniform(0.4, 0.8))
        await rig.crash()
        await rig.start()
    await until(lambda: len(rig.memory.ended) == len(GROUPS), 30)
    storm.cancel()
    await asyncio.gather(storm, return_exceptions=True)
    telegram.faults.clear()
    await until(lambda: rig.state("telegram") == "ready" and rig.manager.states()["telegram"]["queued"] == 0, 30)
    unknown = {d["chat_id"] for d in await rig.manager.deliveries() if d["state"] == "unknown"}
    for group in GROUPS:
        shown = telegram.world.visible(group)
        assert shown == [WHOLE] or (shown == [] and str(group) in unknown)
    assert telegram.faults.hits > 3
    await rig.crash()


@pytest.mark.attack(62)
async def test_flood_control_of_twenty_minutes_keeps_the_latest_text_and_others_go_on(
    telegram: FakeTelegram, rig: Rig
) -> None:
    async def answer(turn: Turn) -> None:
        turn.say(PARTS[0])
        if turn.message.session.text.endswith("42"):
            turn.say("".join(PARTS[1:]))
            turn.done()
            return
        await until(lambda: telegram.world.visible(-100200) == [PARTS[0].strip()])
        telegram.limited("editMessageText", 1200)
        turn.say(PARTS[1])
        await until(lambda: telegram.faults.hits == 1)
        turn.say("".join(PARTS[2:]))
        turn.done()

    rig.agent.script = answer
    telegram.world.person_says(-100200, "@b_bot go", user=7)
    await until(lambda: rig.memory.ended and rig.manager.states()["telegram"]["queued"] == 1)
    telegram.world.person_says(42, "and me?")
    await until(lambda: telegram.world.visible(42) == [WHOLE])
    assert telegram.world.visible(-100200) == [PARTS[0].strip()]
    host = rig.manager.host("telegram")
    assert host is not None
    (lane,) = (lane for key, lane in host._lanes.items() if key == "group:-100200")
    lane.chat.not_before = 0.0  # twenty minutes later
    lane.wake()
    await until(lambda: telegram.world.visible(-100200) == [WHOLE])

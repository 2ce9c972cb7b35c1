"""What a person sees when things break: one answer, whole, on Discord and on Feishu alike."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.channels.rig import Rig, Turn, echo, until
from tests.fakes.discord_rest import rate_limit as discord_limit
from tests.fakes.discord_server import FakeDiscord
from tests.fakes.faults import Fault
from tests.fakes.feishu_rest import rate_limit as feishu_limit
from tests.fakes.feishu_server import FakeFeishu

PARTS = ["The answer ", "is forty", "-two, ", "as everyone ", "knows."]
WHOLE = "".join(PARTS)


class OnDiscord:
    """How the tests speak to Discord."""

    name = "discord"
    person, other = "42", "43"
    send, edit = ("POST", "channels/7042/messages"), ("PATCH", "/messages/")
    any_send = ("POST", "/messages$")
    limit = 2000

    def __init__(self, fake: FakeDiscord) -> None:
        self.fake = fake
        self.settings = {
            "discord": {"enabled": True, "token": fake.token, "api_url": fake.api_url, "allow_from": ["*"]}
        }

    def too_many(self, where: tuple[str, str], seconds: float, times: int = 1) -> Fault:
        body, headers = discord_limit(seconds)
        return Fault(where[1], where[0], status=429, body=body, headers=headers, times=times)

    def forbidden(self) -> Fault:
        return Fault(self.send[1], "POST", status=403, body={"message": "Cannot send", "code": 50007}, times=-1)

    def buttons(self) -> list[tuple[str, Any]]:
        return [
            (message["id"], button["custom_id"])
            for message in self.fake.world.shown("7042")
            for row in message["components"]
            for button in row["components"]
        ]

    async def drop(self) -> None:
        await self.fake.gateway.drop()


class OnFeishu:
    """How the tests speak to Feishu."""

    name = "feishu"
    person, other = "ou_1", "ou_2"
    send, edit = ("POST", "im/v1/messages"), ("PUT", "cardkit/v1/cards")
    any_send = ("POST", r"im/v1/messages(/[^/]+/reply)?$|cardkit/v1/cards$")
    limit = 20_000

    def __init__(self, fake: FakeFeishu) -> None:
        self.fake = fake
        fake.chat_of(self.person)
        app = {"app_id": fake.app_id, "app_secret": "feishu-secret", "domain": fake.domain}
        self.settings = {"feishu": {"enabled": True, "allow_from": ["*"], **app}}

    def too_many(self, where: tuple[str, str], seconds: float, times: int = 1) -> Fault:
        body, headers = feishu_limit(seconds)
        return Fault(where[1], where[0], status=429, body=body, headers=headers, times=times)

    def forbidden(self) -> Fault:
        return Fault(self.send[1], "POST", status=400, body={"code": 230013, "msg": "no availability"}, times=-1)

    def buttons(self) -> list[tuple[str, Any]]:
        world = self.fake.world
        return [(m["message_id"], value) for m in world.shown("oc_ou_1") for value in world.buttons(m)]

    async def drop(self) -> None:
        await self.fake.connection.drop(politely=False)


@pytest.fixture(params=["discord", "feishu"])
async def platform(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "discord":
        async with FakeDiscord() as fake:
            yield OnDiscord(fake)
    else:
        async with FakeFeishu() as feishu:
            yield OnFeishu(feishu)


class Stage:
    """The turns, each played by the test itself."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.turns: list[Turn] = []

    async def play(self, turn: Turn) -> None:
        self.turns.append(turn)
        while turn.message.message_id not in self.rig.memory.ended:
            await asyncio.sleep(0.02)

    async def turn(self, index: int = 0) -> Turn:
        await until(lambda: len(self.turns) > index)
        return self.turns[index]


@pytest.fixture
async def stage(platform: Any, tmp_path: Path) -> AsyncIterator[Stage]:
    rig = Rig(tmp_path, platform.settings)
    stage = Stage(rig)
    rig.script = stage.play
    await rig.start()
    await rig.ready(platform.name)
    yield stage
    await rig.crash()


async def restart(platform: Any, stage: Stage) -> None:
    """A crash, and a new beginning on what was kept."""
    await stage.rig.crash()
    stage.turns.clear()
    await stage.rig.start()
    await stage.rig.ready(platform.name)


async def nothing_waits(platform: Any, stage: Stage) -> None:
    await until(lambda: stage.rig.manager.states()[platform.name]["queued"] == 0, 15)


async def test_an_answer_grows_in_one_message(platform: Any, stage: Stage) -> None:
    await platform.fake.says(platform.person, "what is the answer?")
    turn = await stage.turn()
    turn.say("The answer ")
    await until(lambda: [text.strip() for text in platform.fake.visible(platform.person)] == ["The answer"])
    turn.say("is 42.")
    turn.done()
    await until(lambda: platform.fake.visible(platform.person) == ["The answer is 42."])
    await nothing_waits(platform, stage)
    await asyncio.sleep(0.1)
    assert platform.fake.visible(platform.person) == ["The answer is 42."]
    if platform.name == "feishu":
        assert not any(card.streaming for card in platform.fake.world.cards.values())


async def begin(platform: Any, stage: Stage, where: str = "edit") -> Turn:
    """A turn that has begun; with `edit`, so that a person sees its first words already."""
    await platform.fake.says(platform.person, "?")
    turn = await stage.turn()
    if where == "edit":
        turn.say(PARTS[0])
        await until(lambda: platform.fake.visible(platform.person))
    return turn


async def go_on(turn: Turn, where: str = "edit") -> None:
    """The rest of the answer, slowly enough to be seen growing."""
    for part in PARTS[1 if where == "edit" else 0 :]:
        turn.say(part)
        await asyncio.sleep(0.08)
    turn.done()


@pytest.mark.attack(62)
@pytest.mark.parametrize("where", ["send", "edit"])
async def test_rate_limits_are_waited_for(platform: Any, stage: Stage, where: str) -> None:
    turn = await begin(platform, stage, where)
    platform.fake.faults.add(platform.too_many(getattr(platform, where), 0.6))
    began = asyncio.get_running_loop().time()
    await go_on(turn, where)
    await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
    assert platform.fake.faults.hits == 1
    assert asyncio.get_running_loop().time() - began >= 0.6
    await nothing_waits(platform, stage)
    assert platform.fake.visible(platform.person) == [WHOLE]


@pytest.mark.attack(62)
async def test_a_long_flood_control_is_obeyed_and_others_go_on(platform: Any, stage: Stage) -> None:
    turn = await begin(platform, stage)
    platform.fake.faults.add(platform.too_many(platform.edit, 1200))
    turn.say(PARTS[1])
    await until(lambda: platform.fake.faults.hits == 1)
    turn.say("".join(PARTS[2:]))
    turn.done()
    await asyncio.sleep(0.2)
    assert stage.rig.manager.states()[platform.name]["queued"] == 1
    await platform.fake.says(platform.other, "and me?")
    second = await stage.turn(1)
    second.say("you too")
    second.done()
    await until(lambda: platform.fake.visible(platform.other) == ["you too"])
    assert [text.strip() for text in platform.fake.visible(platform.person)] == [PARTS[0].strip()]
    assert platform.fake.faults.hits == 1


@pytest.mark.attack(64)
@pytest.mark.parametrize("where", ["send", "edit"])
async def test_a_lost_answer_of_the_platform_is_repeated_harmlessly(platform: Any, stage: Stage, where: str) -> None:
    turn = await begin(platform, stage, where)
    method, path = getattr(platform, where)
    platform.fake.faults.add(Fault(path, method, kind="lose_answer"))
    await go_on(turn, where)
    await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
    await nothing_waits(platform, stage)
    assert platform.fake.visible(platform.person) == [WHOLE]
    assert platform.fake.faults.hits == 1
    assert await stage.rig.manager.deliveries() == []


@pytest.mark.attack(64)
async def test_a_crash_before_a_lost_answer_is_known(platform: Any, stage: Stage) -> None:
    turn = await begin(platform, stage, "send")
    method, path = platform.send
    platform.fake.faults.add(Fault(path, method, kind="lose_answer"))
    turn.say("half")
    await until(lambda: platform.fake.faults.hits == 1)
    await stage.rig.crash()
    stage.rig.memory.ended[turn.message.message_id] = WHOLE
    await stage.rig.start()
    await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
    await nothing_waits(platform, stage)
    assert platform.fake.visible(platform.person) == [WHOLE]


async def test_a_crash_in_the_middle_of_an_answer(platform: Any, stage: Stage) -> None:
    await begin(platform, stage)
    await asyncio.sleep(0.05)
    await restart(platform, stage)
    await go_on(await stage.turn(), "send")
    await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
    await nothing_waits(platform, stage)
    assert platform.fake.visible(platform.person) == [WHOLE]


@pytest.mark.attack(62)
async def test_an_outage_in_the_middle_of_an_answer(platform: Any, stage: Stage) -> None:
    turn = await begin(platform, stage)
    await platform.fake.stop()
    await go_on(turn)
    await until(lambda: stage.rig.state(platform.name) != "ready")
    assert stage.rig.manager.states()[platform.name]["reason"]
    await platform.fake.start()
    await until(lambda: platform.fake.visible(platform.person) == [WHOLE], 15)
    await until(lambda: stage.rig.state(platform.name) == "ready", 15)
    await nothing_waits(platform, stage)
    assert platform.fake.visible(platform.person) == [WHOLE]


@pytest.mark.attack(55)
async def test_a_hundred_repeats_are_one_turn(platform: Any, stage: Stage) -> None:
    await platform.fake.says(platform.person, "once", times=100)
    turn = await stage.turn()
    turn.say("yes")
    turn.done()
    await until(lambda: platform.fake.visible(platform.person) == ["yes"])
    await restart(platform, stage)
    await platform.fake.says(platform.person, "next", times=3)
    await stage.turn()
    assert stage.rig.agent.texts == ["once", "next"]
    assert platform.fake.visible(platform.person) == ["yes"]


async def test_a_long_stream_comes_in_order_and_whole(platform: Any, stage: Stage) -> None:
    text = "\n\n".join(f"Paragraph {n}: " + "word " * 60 for n in range(platform.limit * 2 // 300))
    await platform.fake.says(platform.person, "?")
    turn = await stage.turn()
    for at in range(0, len(text), 500):
        turn.say(text[at : at + 500])
        await asyncio.sleep(0.002)
    turn.done()
    await until(
        lambda: " ".join(" ".join(platform.fake.visible(platform.person)).split()) == " ".join(text.split()), 20
    )
    assert 2 <= len(platform.fake.visible(platform.person)) <= 4


@pytest.mark.attack(54)
async def test_an_answer_rings_for_nobody(platform: Any, stage: Stage) -> None:
    await platform.fake.says(platform.person, "?")
    turn = await stage.turn()
    turn.say("@everyone <at id=all></at> <@&1>")
    turn.done()
    await until(lambda: platform.fake.visible(platform.person))
    await nothing_waits(platform, stage)
    if platform.name == "discord":
        assert platform.fake.world.shown("7042")[0]["allowed_mentions"] == {"parse": []}
    else:
        assert "<at" not in platform.fake.visible(platform.person)[0]


@pytest.mark.attack(62)
@pytest.mark.attack(64)
@pytest.mark.parametrize(("seed", "crashes"), [(1, 0), (2, 2)])
async def test_a_storm_of_faults_leaves_everybody_one_whole_answer(
    platform: Any, stage: Stage, seed: int, crashes: int
) -> None:
    chance = random.Random(seed)
    people = [f"10{n}" for n in range(12)]
    faults = platform.fake.faults

    async def storm() -> None:
        while True:
            await asyncio.sleep(chance.uniform(0.03, 0.12))
            where = chance.choice([platform.any_send, platform.edit])
            kind = chance.choice(["lose_answer", "lose_request", "limit", "status", "drop"])
            if kind == "drop":
                await platform.drop()
            elif kind == "limit":
                faults.add(platform.too_many(where, chance.uniform(0.1, 0.3)))
            elif kind == "status":
                faults.add(Fault(where[1], where[0], status=503))
            else:
                faults.add(Fault(where[1], where[0], kind=kind))

    async def converse(number: int, person: str) -> None:
        await asyncio.sleep(number * 0.05)
        await platform.fake.says(person, f"question of {person}")

    async def answer(turn: Turn) -> None:
        for part in PARTS:
            turn.say(part)
            await asyncio.sleep(chance.uniform(0, 0.15))
        turn.say(f" {turn.message.text}")
        turn.done()

    stage.rig.script = stage.rig.agent.script = echo
    for person in people:  # Discord names no private channel that was never written in
        await platform.fake.says(person, "hi")
    await until(lambda: all(platform.fake.visible(person) == ["You said: hi"] for person in people))
    stage.rig.script = stage.rig.agent.script = answer
    weather = asyncio.create_task(storm())
    await asyncio.gather(*(converse(number, person) for number, person in enumerate(people)))
    for _ in range(crashes):
        await asyncio.sleep(chance.uniform(0.2, 0.6))
        await stage.rig.crash()
        await stage.rig.start()
    await until(lambda: len(stage.rig.memory.ended) == 2 * len(people), 30)
    weather.cancel()
    await asyncio.gather(weather, return_exceptions=True)
    faults.clear()
    expected = {person: ["You said: hi", f"{WHOLE} question of {person}"] for person in people}
    await until(lambda: {person: platform.fake.visible(person) for person in people} == expected, 30)
    await nothing_waits(platform, stage)
    assert {person: platform.fake.visible(person) for person in people} == expected
    assert await stage.rig.manager.deliveries() == []
    assert faults.hits > 1

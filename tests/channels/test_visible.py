"""What a person sees when things break: one answer, whole, on Discord and on Feishu alike."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.channels.notebook import until
from tests.channels.playhouse import PlayedAgent, house
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
    send, edit = ("POST", "channels/742/messages"), ("PATCH", "channels/742/messages")
    limit = 2000

    def __init__(self, fake: FakeDiscord) -> None:
        self.fake = fake
        self.settings = {"discord": {"enabled": True, "token": fake.token, "api_url": fake.api_url}}

    def too_many(self, where: tuple[str, str], seconds: float, times: int = 1) -> Fault:
        body, headers = discord_limit(seconds)
        return Fault(where[1], where[0], status=429, body=body, headers=headers, times=times)

    def forbidden(self) -> Fault:
        return Fault(self.send[1], "POST", status=403, body={"message": "Cannot send", "code": 50007}, times=-1)

    def buttons(self) -> list[tuple[str, Any]]:
        return [
            (message["id"], button["custom_id"])
            for message in self.fake.world.shown("742")
            for row in message["components"]
            for button in row["components"]
        ]


class OnFeishu:
    """How the tests speak to Feishu."""

    name = "feishu"
    person, other = "ou_1", "ou_2"
    send, edit = ("POST", "im/v1/messages"), ("PUT", "cardkit/v1/cards")
    limit = 20_000

    def __init__(self, fake: FakeFeishu) -> None:
        self.fake = fake
        fake.chat_of(self.person)
        app = {"app_id": fake.app_id, "app_secret": "feishu-secret", "domain": fake.domain}
        self.settings = {"feishu": {"enabled": True, **app}}

    def too_many(self, where: tuple[str, str], seconds: float, times: int = 1) -> Fault:
        body, headers = feishu_limit(seconds)
        return Fault(where[1], where[0], status=429, body=body, headers=headers, times=times)

    def forbidden(self) -> Fault:
        return Fault(self.send[1], "POST", status=400, body={"code": 230013, "msg": "no availability"}, times=-1)

    def buttons(self) -> list[tuple[str, Any]]:
        world = self.fake.world
        return [(m["message_id"], value) for m in world.shown("oc_ou_1") for value in world.buttons(m)]


@pytest.fixture(params=["discord", "feishu"])
async def platform(request: pytest.FixtureRequest) -> AsyncIterator[Any]:
    if request.param == "discord":
        async with FakeDiscord() as fake:
            yield OnDiscord(fake)
    else:
        async with FakeFeishu() as feishu:
            yield OnFeishu(feishu)


@pytest.fixture
def agent() -> PlayedAgent:
    return PlayedAgent()


async def stream(turn: Any, pause: float = 0.15) -> None:
    """An answer in pieces, slowly enough to be seen growing."""
    turn.start()
    for part in PARTS:
        turn.says(part)
        await asyncio.sleep(pause)
    turn.ends()


async def test_an_answer_grows_in_one_message(platform: Any, agent: PlayedAgent, tmp_path: Path) -> None:
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "what is the answer?")
        turn = (await agent.turn()).start()
        turn.says("The answer ")
        await until(lambda: platform.fake.visible(platform.person) == ["The answer"] or
                    platform.fake.visible(platform.person) == ["The answer "])  # fmt: skip
        turn.says("is 42.")
        turn.ends()
        await until(lambda: platform.fake.visible(platform.person) == ["The answer is 42."])
        await until(lambda: manager.states()[platform.name]["queued"] == 0)
        await asyncio.sleep(0.1)
        assert platform.fake.visible(platform.person) == ["The answer is 42."]
        if platform.name == "feishu":
            assert not any(card.streaming for card in platform.fake.world.cards.values())


@pytest.mark.attack(62)
@pytest.mark.parametrize("where", ["send", "edit"])
async def test_rate_limits(platform: Any, agent: PlayedAgent, tmp_path: Path, where: str) -> None:
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "?")
        turn = await agent.turn()
        platform.fake.faults.add(platform.too_many(getattr(platform, where), 1.2, times=2))
        began = asyncio.get_running_loop().time()
        await stream(turn)
        await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
        if platform.fake.faults.hits == 2:
            assert asyncio.get_running_loop().time() - began >= 2.4
        await until(lambda: manager.states()[platform.name]["queued"] == 0)
        assert platform.fake.visible(platform.person) == [WHOLE]


@pytest.mark.attack(62)
async def test_a_long_flood_control_is_waited_for_and_others_go_on(
    platform: Any, agent: PlayedAgent, tmp_path: Path
) -> None:
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "?")
        first = (await agent.turn()).start()
        first.says("half")
        await until(lambda: platform.fake.visible(platform.person) == ["half"])
        platform.fake.faults.add(platform.too_many(platform.edit, 1200))
        first.says(" an answer")
        await until(lambda: platform.fake.faults.hits == 1)
        first.ends()
        await asyncio.sleep(0.6)
        assert platform.fake.faults.hits == 1
        assert manager.states()[platform.name]["queued"] == 1
        await platform.fake.says(platform.other, "and me?")
        second = await agent.turn(1)
        second.start().says("you too")
        second.ends()
        await until(lambda: platform.fake.visible(platform.other) == ["you too"])
        assert platform.fake.visible(platform.person) == ["half"]


@pytest.mark.attack(64)
@pytest.mark.parametrize("where", ["send", "edit"])
async def test_a_lost_answer(platform: Any, agent: PlayedAgent, tmp_path: Path, where: str) -> None:
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "?")
        turn = await agent.turn()
        turn.start().says(PARTS[0])
        if where == "edit":
            await until(lambda: platform.fake.visible(platform.person))
        method, path = getattr(platform, where)
        platform.fake.faults.add(Fault(path, method, kind="lose_answer"))
        for part in PARTS[1:]:
            await asyncio.sleep(0.3)
            turn.says(part)
        turn.ends()
        await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
        await until(lambda: manager.states()[platform.name]["queued"] == 0)
        assert platform.fake.visible(platform.person) == [WHOLE]
        assert platform.fake.faults.hits == 1
        assert await manager.deliveries() == []


@pytest.mark.attack(64)
async def test_a_restart_while_a_lost_answer_is_unresolved(platform: Any, agent: PlayedAgent, tmp_path: Path) -> None:
    async with house(agent, platform.settings, tmp_path):
        await platform.fake.says(platform.person, "?")
        turn = await agent.turn()
        method, path = platform.send
        platform.fake.faults.add(Fault(path, method, kind="lose_answer"))
        turn.start().says("half")
        await until(lambda: platform.fake.faults.hits == 1)
    turn.text, turn.state = WHOLE, "ended"
    async with house(agent, platform.settings, tmp_path) as manager:
        await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
        await until(lambda: manager.states()[platform.name]["queued"] == 0)
        assert platform.fake.visible(platform.person) == [WHOLE]


async def test_a_restart_in_the_middle_of_an_answer(platform: Any, agent: PlayedAgent, tmp_path: Path) -> None:
    async with house(agent, platform.settings, tmp_path):
        await platform.fake.says(platform.person, "?")
        turn = (await agent.turn()).start()
        turn.says("a first attempt that ")
        await until(lambda: platform.fake.visible(platform.person))
        await asyncio.sleep(0.05)
    async with house(agent, platform.settings, tmp_path) as manager:
        await stream(turn, 0.05)
        await until(lambda: platform.fake.visible(platform.person) == [WHOLE])
        await until(lambda: manager.states()[platform.name]["queued"] == 0)
        assert platform.fake.visible(platform.person) == [WHOLE]


async def test_an_answer_that_ended_while_the_channels_were_down(
    platform: Any, agent: PlayedAgent, tmp_path: Path
) -> None:
    async with house(agent, platform.settings, tmp_path):
        await platform.fake.says(platform.person, "?")
        turn = (await agent.turn()).start()
        turn.says("half")
        await until(lambda: platform.fake.visible(platform.person) == ["half"])
        await asyncio.sleep(0.05)
    turn.text, turn.state = WHOLE, "ended"
    async with house(agent, platform.settings, tmp_path):
        await until(lambda: platform.fake.visible(platform.person) == [WHOLE])


@pytest.mark.attack(62)
async def test_an_outage_in_the_middle_of_an_answer(platform: Any, agent: PlayedAgent, tmp_path: Path) -> None:
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "?")
        turn = (await agent.turn()).start()
        turn.says("half")
        await until(lambda: platform.fake.visible(platform.person) == ["half"])
        await platform.fake.stop()
        turn.says(" and the rest")
        turn.ends()
        await until(lambda: manager.states()[platform.name]["state"] != "ready")
        await asyncio.sleep(0.5)
        await platform.fake.start()
        await until(lambda: platform.fake.visible(platform.person) == ["half and the rest"], 15)
        await until(lambda: manager.states()[platform.name]["state"] == "ready")
        assert platform.fake.visible(platform.person) == ["half and the rest"]


@pytest.mark.attack(55)
async def test_repeats_are_one_turn_after_a_restart_too(platform: Any, agent: PlayedAgent, tmp_path: Path) -> None:
    async with house(agent, platform.settings, tmp_path):
        await platform.fake.says(platform.person, "once", times=20)
        turn = await agent.turn()
        turn.start().says("yes")
        turn.ends()
        await until(lambda: platform.fake.visible(platform.person) == ["yes"])
    async with house(agent, platform.settings, tmp_path):
        await platform.fake.says(platform.person, "next")
        await agent.turn(1)
        assert [t.message.text for t in agent.turns] == ["once", "next"]
        assert platform.fake.visible(platform.person) == ["yes"]


async def test_a_long_answer_comes_in_order_and_whole(platform: Any, agent: PlayedAgent, tmp_path: Path) -> None:
    text = "\n\n".join(f"Paragraph {n}: " + "word " * 60 for n in range(platform.limit * 2 // 300))
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "?")
        turn = (await agent.turn()).start()
        for at in range(0, len(text), 500):
            turn.says(text[at : at + 500])
            await asyncio.sleep(0.002)
        turn.ends()
        await until(lambda: manager.states()[platform.name]["queued"] == 0, 20)
        seen = platform.fake.visible(platform.person)
        assert 2 <= len(seen) <= 4
        assert "\n\n".join(seen).split() == text.split()


@pytest.mark.attack(63)
async def test_a_permanent_refusal_is_listed_and_can_be_sent_again(
    platform: Any, agent: PlayedAgent, tmp_path: Path
) -> None:
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.says(platform.person, "?")
        turn = await agent.turn()
        platform.fake.faults.add(platform.forbidden())
        turn.start().says("refused")
        turn.ends()
        async with asyncio.timeout(5):
            while not (listed := await manager.deliveries()):
                await asyncio.sleep(0.02)
        assert [d["state"] for d in listed] == ["refused"]
        assert platform.fake.faults.hits == 1
        platform.fake.faults.clear()
        assert await manager.resend(listed[0]["delivery_id"])
        await until(lambda: platform.fake.visible(platform.person) == ["refused"])


@pytest.mark.attack(60)
async def test_an_approval_is_the_requesters_and_its_buttons_go(
    platform: Any, agent: PlayedAgent, tmp_path: Path
) -> None:
    async with house(agent, platform.settings, tmp_path):
        await platform.fake.says(platform.person, "delete it")
        turn = (await agent.turn()).start()
        turn.asks("ap-1", "fs_delete")
        await until(lambda: len(platform.buttons()) == 4)
    async with house(agent, platform.settings, tmp_path) as manager:
        ch=manager.host(platform.name).channel
        orig=ch.receive_tap
        async def rt(t):
            print("TAP",t); ledger=manager._ledger
            print(await ledger.asked(t.data.split(":")[1]))
            await orig(t)
        ch.receive_tap=rt
        message_id, data = platform.buttons()[0]
        await platform.fake.presses(platform.other, message_id, data)
        await asyncio.sleep(0.15)
        assert agent.decisions == []
        await platform.fake.presses(platform.person, message_id, data)
        await until(lambda: agent.decisions)
        assert agent.decisions[0][:2] == ("ap-1", "allow_once")
        await until(lambda: platform.buttons() == [])
        assert any("fs_delete" in text for text in platform.fake.visible(platform.person))


@pytest.mark.attack(62)
async def test_a_wrong_secret_fails_this_channel_alone_and_heals(
    platform: Any, agent: PlayedAgent, tmp_path: Path
) -> None:
    holder = platform.fake.gateway if platform.name == "discord" else platform.fake.rest
    names = ("token",) if platform.name == "discord" else ("app_secret",)
    right = {name: getattr(holder, name) for name in names}
    async with house(agent, platform.settings, tmp_path) as manager:
        await platform.fake.stop()
        for name in names:
            setattr(holder, name, "another")
        if platform.name == "discord":
            platform.fake.rest.token = "another"
        else:
            platform.fake.connection.app_secret = "another"
        await platform.fake.start()
        await until(lambda: manager.states()[platform.name]["state"] == "failed", 15)
        assert manager.states()[platform.name]["reason"]
        for name, value in right.items():
            setattr(holder, name, value)
        if platform.name == "discord":
            platform.fake.rest.token = right["token"]
        else:
            platform.fake.connection.app_secret = right["app_secret"]
        await until(lambda: manager.states()[platform.name]["state"] == "ready", 15)

"""An opener whose fate is unknown, in a group: what stands in the chat in the end, counted."""

from pathlib import Path

import pytest

from tests.channels.rig import Rig, Turn, until
from tests.channels.telegram.rigging import GROUP, section, slowly
from tests.fakes.telegram_server import FakeTelegram

WHOLE = " ".join(f"w{n}" for n in range(15))
pytestmark = pytest.mark.attack(64)


async def ended(telegram: FakeTelegram, rig: Rig, *visible: str, chat: int = GROUP) -> None:
    """`visible` stands there, nothing waits any more, and it stays so."""
    await until(lambda: telegram.world.visible(chat) == list(visible), 20)
    await until(lambda: rig.manager.states()["telegram"]["queued"] == 0, 20)
    assert telegram.world.visible(chat) == list(visible)


@pytest.mark.parametrize("kind", ["lose_answer", "lose_request"])
async def test_one_whole_answer_whether_the_opener_arrived_or_not(telegram: FakeTelegram, rig: Rig, kind: str) -> None:
    rig.agent.script = slowly
    telegram.fault("sendMessage", kind=kind)
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await ended(telegram, rig, WHOLE)
    assert await rig.manager.deliveries() == []
    assert len(telegram.said("sendMessage")) == 1, "of those that arrived"


async def test_other_peoples_messages_in_between_stay_as_they_are(telegram: FakeTelegram, rig: Rig) -> None:
    async def while_others_talk(turn: Turn) -> None:
        for number in range(4):
            telegram.world.person_says(GROUP, f"aside {number}", user=8)
        turn.say("half ")
        await until(lambda: telegram.faults.hits)
        telegram.world.person_says(GROUP, "and more", user=8)
        turn.say("and half")
        turn.done()

    rig.agent.script = while_others_talk
    telegram.fault("sendMessage", kind="lose_answer")
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await ended(telegram, rig, "half and half")
    said = [m.text for m in telegram.world.chat(GROUP).messages.values() if not m.from_bot]
    assert said == ["@b_bot go", "aside 0", "aside 1", "aside 2", "aside 3", "and more"]
    assert len(telegram.said("sendMessage")) == 1
    assert telegram.said("deleteMessage") == []


async def test_flood_control_during_the_search(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.fault("sendMessage", kind="lose_answer")
    telegram.limited("editMessageText", 1)
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await ended(telegram, rig, WHOLE)
    assert len(telegram.said("sendMessage")) == 1


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_restart_under_the_opener(telegram: FakeTelegram, rig: Rig, accepted: bool) -> None:
    rig.agent.script = rig.script = slowly
    telegram.fault("sendMessage", kind="answer_late" if accepted else "lose_request", seconds=5)
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await until(lambda: telegram.world.visible(GROUP) if accepted else telegram.faults.hits)
    await rig.crash()
    assert len(telegram.world.bot_messages(GROUP)) == accepted
    await rig.start()
    await ended(telegram, rig, WHOLE)
    assert await rig.manager.deliveries() == []


async def test_a_restart_in_the_middle_of_the_search(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = rig.script = slowly
    telegram.fault("sendMessage", kind="lose_answer")
    telegram.fault("editMessageText", kind="lose_request")
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await until(lambda: telegram.faults.hits == 2)
    await rig.crash()
    await rig.start()
    await ended(telegram, rig, WHOLE)
    assert len(telegram.said("sendMessage")) == 1


async def test_a_question_that_was_lost_in_doubt_is_found_by_the_tap_on_it(telegram: FakeTelegram, rig: Rig) -> None:
    async def asking(turn: Turn) -> None:
        turn.ask("apr_1")
        await until(lambda: rig.agent.decisions)
        turn.say("done")
        turn.done()

    rig.agent.script = asking
    telegram.fault("sendMessage", kind="lose_answer")
    telegram.world.person_says(42, "delete it")
    await until(lambda: telegram.world.has_buttons(42) and rig.manager.states()["telegram"]["queued"] == 0)
    await until(lambda: not rig.manager.host("telegram").busy)
    assert [d["state"] for d in await rig.manager.deliveries()] == ["unknown"]
    telegram.world.tap(42, "Deny")
    await until(lambda: "Denied" in telegram.world.visible(42)[0])
    assert not telegram.world.has_buttons(42)
    assert await rig.manager.deliveries() == []


async def test_one_left_behind_in_a_private_chat_is_taken_away(telegram: FakeTelegram, tmp_path: Path) -> None:
    """Private chats share a count: the opener's number is far from the last one known in its chat."""
    async with Rig(tmp_path, section(telegram, streaming="edit")).running("telegram") as rig:

        async def while_the_bot_is_busy(turn: Turn) -> None:
            for person in range(1000, 1003):
                telegram.world.new_message(telegram.world.chat(person), "to somebody else")
            turn.say("half ")
            await until(lambda: telegram.faults.hits)
            turn.say("and half")
            turn.done()

        rig.agent.script = while_the_bot_is_busy
        telegram.fault("sendMessage", kind="lose_answer")
        telegram.world.person_says(42, "go")
        await ended(telegram, rig, "half and half", chat=42)
        assert len(telegram.said("deleteMessage")) == 1
        assert await rig.manager.deliveries() == []

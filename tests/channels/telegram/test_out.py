"""What goes out to Telegram: drafts, edits, markup, files, floods, a crash under a send."""

import asyncio
import time
from pathlib import Path

import pytest

from channels.items import PLACEHOLDER
from tests.channels.rig import Rig, Turn, until
from tests.channels.telegram.rigging import GROUP, section, slowly
from tests.fakes.telegram_server import FakeTelegram


async def test_drafts_stream_in_private_and_one_message_is_sent(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.world.person_says(42, "go")
    drafts = await until(lambda: telegram.world.chat(42).drafts)
    assert next(iter(drafts.values())).startswith("w0")
    await until(lambda: telegram.world.visible(42))
    assert len(telegram.said("sendMessage")) == 1
    assert telegram.said("editMessageText") == []
    assert len({p["draft_id"] for p in telegram.said("sendMessageDraft")}) == 1


async def test_an_older_server_without_drafts_gets_edits(tmp_path: Path) -> None:
    async with FakeTelegram(drafts=False) as fake, Rig(tmp_path, section(fake)).running("telegram") as rig:
        rig.agent.script = slowly
        fake.world.person_says(42, "go")
        await until(lambda: fake.world.visible(42) == [" ".join(f"w{n}" for n in range(15))])
        assert len(fake.said("sendMessage")) == 1
        assert fake.said("editMessageText")
        assert rig.state("telegram") == "ready"


async def test_groups_stream_by_edits_within_the_rates(telegram: FakeTelegram, tmp_path: Path) -> None:
    async def talking(turn: Turn) -> None:
        for number in range(15):
            turn.say(f"w{number} ")
            await asyncio.sleep(0.1)
        turn.done()

    async with Rig(tmp_path, section(telegram), talking, pace=1).running("telegram"):
        telegram.world.person_says(GROUP, "@b_bot go", user=7)
        await until(lambda: telegram.world.visible(GROUP) == [" ".join(f"w{n}" for n in range(15))])
    assert telegram.said("sendMessageDraft") == []
    assert len(telegram.said("sendMessage")) == 1
    assert telegram.said("sendMessage")[0]["text"] == PLACEHOLDER.markdown
    assert len(telegram.said("editMessageText")) <= 3


async def test_streaming_off_sends_the_end_alone(telegram: FakeTelegram, tmp_path: Path) -> None:
    async with Rig(tmp_path, section(telegram, streaming="off")).running("telegram") as rig:
        rig.agent.script = slowly
        telegram.world.person_says(42, "go")
        await until(lambda: telegram.world.visible(42))
        assert telegram.said("sendMessageDraft") == telegram.said("editMessageText") == []


async def test_the_message_is_acknowledged_typed_for_and_replied_to(telegram: FakeTelegram, rig: Rig) -> None:
    async def thinking(turn: Turn) -> None:
        await asyncio.sleep(0.3)
        turn.say("yes")
        turn.done()

    rig.agent.script = thinking
    number = telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42))
    assert telegram.world.chat(42).messages[number].reactions == ["👀"]
    assert telegram.world.chat(42).actions == ["typing"]
    assert telegram.world.bot_messages(42)[0].reply_to == number


async def test_an_answer_to_a_message_that_was_deleted_still_comes(telegram: FakeTelegram, rig: Rig) -> None:
    async def late(turn: Turn) -> None:
        telegram.world.person_deletes(42, number)
        turn.say("still here")
        turn.done()

    rig.agent.script = late
    number = telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42) == ["still here"])


async def test_the_command_menu_is_there_in_both_languages(telegram: FakeTelegram, rig: Rig) -> None:
    await until(lambda: set(telegram.world.commands) == {"", "zh"})
    english = {c["command"]: c["description"] for c in telegram.world.commands[""]}
    chinese = {c["command"]: c["description"] for c in telegram.world.commands["zh"]}
    assert english["new"] == "start a new conversation"
    assert chinese["new"] == "开始新的对话"
    assert "pair" not in english


async def test_refused_markup_becomes_plain_text(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.refuse("sendMessage", 400, "Bad Request: can't parse entities: unsupported start tag")
    telegram.world.person_says(42, "**x**")
    await until(lambda: telegram.world.visible(42) == ["You said: x"])
    assert telegram.world.bot_messages(42)[0].entities == []


async def test_a_picture_that_is_none_goes_as_a_file(telegram: FakeTelegram, rig: Rig) -> None:
    async def draw(turn: Turn) -> None:
        ref = await rig.media.save(b"not a png", mime="image/png", name="cat.png", owner=turn.message.actor.user)
        turn.tool("draw", (ref,))
        turn.say("a cat")
        turn.done()

    rig.agent.script = draw
    telegram.world.person_says(42, "draw")
    await until(lambda: telegram.world.visible(42) == ["[document]", "a cat"])


@pytest.mark.attack(62)
async def test_flood_control_in_mid_stream_costs_nothing_but_time(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.limited("sendMessageDraft", 1)
    began = time.monotonic()
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.world.visible(42) == [" ".join(f"w{n}" for n in range(15))])
    assert 0.95 < time.monotonic() - began < 4
    assert len(telegram.said("sendMessage")) == 1


@pytest.mark.attack(62)
async def test_a_long_flood_wait_is_kept_over_a_restart(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.limited("sendMessage", 1200)
    telegram.world.person_says(42, "hello")
    await until(lambda: rig.manager.states()["telegram"]["queued"] == 1)
    await asyncio.sleep(0.3)
    await rig.crash()
    await rig.start()
    await rig.ready("telegram")
    await asyncio.sleep(0.3)
    assert len(telegram.said("sendMessage")) == 0
    assert rig.manager.states()["telegram"]["queued"] == 1


@pytest.mark.attack(64)
async def test_a_crash_while_a_send_is_under_way_is_listed(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.fault("sendMessage", kind="stall", seconds=0.4)
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.faults.hits == 1)
    await rig.crash()
    await rig.start()
    await rig.ready("telegram")
    await asyncio.sleep(0.5)
    listed = await rig.manager.deliveries()
    assert [d["state"] for d in listed] == ["unknown"]
    assert len(telegram.world.visible(42)) <= 1


@pytest.mark.quiet
@pytest.mark.attack(63)
async def test_a_very_long_answer_does_not_hold_the_loop(telegram: FakeTelegram, rig: Rig) -> None:
    lags: list[float] = []

    async def heart() -> None:
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            lags.append(time.monotonic() - before - 0.005)

    async def long(turn: Turn) -> None:
        turn.say("**word** and `code` 😀 中文。 " * 2000)
        turn.done()

    rig.agent.script = long
    beating = asyncio.create_task(heart())
    telegram.world.person_says(42, "go")
    await until(lambda: len(telegram.world.visible(42)) >= 3)
    beating.cancel()
    lags.sort()
    assert lags[-2] < 0.15, lags[-5:]

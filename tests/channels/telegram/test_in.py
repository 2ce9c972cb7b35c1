"""What comes in from Telegram: confirmed when durable, in order, albums, topics, moved groups."""

import asyncio
import time
from pathlib import Path

import pytest

from tests.channels.rig import Rig, Turn, overloaded, until
from tests.channels.telegram.rigging import GROUP, section, slowly
from tests.contracts.channel_contract import PNG
from tests.fakes.remote import RemoteFake
from tests.fakes.telegram_server import FakeTelegram


async def test_an_update_is_confirmed_only_when_it_is_durable(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.holding = asyncio.Event()
    telegram.world.person_says(42, "hello")
    await asyncio.sleep(0.4)
    assert len(telegram.world.pending()) == 1
    rig.agent.holding.set()
    await until(lambda: telegram.world.pending() == [])
    await until(lambda: telegram.world.visible(42) == ["You said: hello"])


@pytest.mark.quiet
async def test_a_message_that_takes_long_to_take_in_holds_up_no_other_chat(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.fault("getFile", kind="stall", seconds=0.8)
    telegram.world.person_sends(42, "photo", PNG)
    await asyncio.sleep(0.1)
    began = time.monotonic()
    telegram.world.person_says(GROUP, "/status", user=7)
    await until(lambda: telegram.world.visible(GROUP) == ["You said: /status"])
    assert time.monotonic() - began < 0.65
    await until(lambda: len(rig.agent.messages) == 2 and telegram.world.pending() == [])


async def test_messages_of_one_chat_stay_in_order_behind_a_slow_one(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.fault("getFile", kind="stall", seconds=0.3)
    telegram.world.person_sends(42, "photo", PNG, caption="first")
    telegram.world.person_says(42, "second")
    await until(lambda: len(rig.agent.messages) == 2)
    assert rig.agent.texts == ["first", "second"]


async def test_a_page_of_messages_behind_a_slow_one_hides_nobody_elses(telegram: FakeTelegram, rig: Rig) -> None:
    """Telegram hands out the oldest hundred that are not confirmed; none is lost in a crash, and none comes twice."""
    telegram.fault("getFile", kind="stall", seconds=15)
    telegram.world.person_sends(42, "photo", PNG, caption="0")
    for number in range(1, 251):
        telegram.world.person_says(42, str(number))
    telegram.world.person_says(GROUP, "/status", user=7)
    await until(lambda: telegram.world.visible(GROUP) == ["You said: /status"], 5)
    assert rig.agent.texts == ["/status"]
    await rig.crash()
    await rig.start()
    await until(lambda: len(rig.agent.messages) == 252 and telegram.world.pending() == [], 20)
    assert rig.agent.texts == ["/status", *map(str, range(251))]
    await rig.crash()
    await rig.start()
    telegram.world.person_says(42, "after")
    await until(lambda: "after" in rig.agent.texts)
    assert len(rig.agent.messages) == 253


async def test_a_yes_behind_a_page_of_messages_is_heard(telegram: FakeTelegram, rig: Rig) -> None:
    """The session is full until the question is answered."""

    async def work(turn: Turn) -> None:
        if turn.message.text == "go":
            turn.ask("ap_1")
            await until(lambda: rig.agent.decisions, 30)
            rig.agent.refuse = []
        turn.done()

    rig.agent.script = work
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.world.has_buttons(42))
    rig.agent.refuse = overloaded(10_000)
    for number in range(150):
        telegram.world.person_says(42, str(number))
    await asyncio.sleep(0.2)
    telegram.world.tap(42, "Allow once")
    await until(lambda: rig.agent.decisions, 5)
    await until(lambda: len(rig.agent.texts) == 151)
    assert rig.agent.texts == ["go", *map(str, range(150))]


async def test_an_album_is_one_turn_even_where_its_parts_come_late(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world.person_sends(42, "photo", PNG, caption="my cats", album="g1")
    await asyncio.sleep(0.2)
    for _ in range(2):
        telegram.world.person_sends(42, "photo", PNG, album="g1")
    await until(lambda: rig.agent.messages)
    await asyncio.sleep(0.8)
    assert [(m.text, len(m.media)) for m in rig.agent.messages] == [("my cats", 3)]
    assert telegram.world.pending() == []


async def test_a_voice_message_is_written_down(telegram: FakeTelegram, tmp_path: Path) -> None:
    class Scribe:
        async def transcribe(self, data: bytes, *, mime: str, name: str) -> str:
            return f"{len(data)} bytes of {mime}"

    rig = Rig(tmp_path, section(telegram))
    rig.transcriber = Scribe()
    async with rig.running("telegram"):
        telegram.world.person_sends(42, "voice", b"OggS1234", mime="audio/ogg")
        await until(lambda: rig.agent.messages)
        assert rig.agent.messages[0].text == "8 bytes of audio/ogg"
        assert rig.agent.messages[0].media[0].mime == "audio/ogg"


async def test_a_size_that_the_platform_conceals_is_noticed_while_downloading(
    telegram: FakeTelegram, tmp_path: Path
) -> None:
    async with Rig(tmp_path, section(telegram, max_media_bytes=1000)).running("telegram") as rig:
        telegram.world.person_sends(42, "document", b"x" * 5000, said_size=10, caption="c")
        await until(lambda: rig.agent.messages)
        assert rig.agent.messages[0].media == ()


async def test_a_topic_is_answered_in_the_topic_and_the_bot_is_found_in_it(telegram: FakeTelegram, rig: Rig) -> None:
    rig.agent.script = slowly
    telegram.world.person_says(GROUP, "@b_bot here", user=7, thread=77)
    await until(lambda: telegram.world.visible(GROUP))
    assert telegram.world.bot_messages(GROUP)[0].thread == 77
    assert rig.agent.messages[0].session.text == f"agent:main:telegram:group:{GROUP}:topic:77"
    assert {str(p.get("message_thread_id")) for p in telegram.said("sendChatAction")} == {"77"}


async def test_a_group_that_moves_keeps_its_session_and_is_still_listed(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world.person_says(GROUP, "@b_bot one", user=7)
    await until(lambda: telegram.world.visible(GROUP) == ["You said: one"])
    telegram.world.group_moves(GROUP, -100999)
    await until(lambda: telegram.world.pending() == [])
    await rig.crash()
    await rig.start()
    telegram.world.person_says(-100999, "@b_bot two", user=7)
    await until(lambda: telegram.world.visible(-100999) == ["You said: two"])
    first, second = rig.agent.messages
    assert first.session == second.session


async def test_a_group_that_moved_unnoticed_is_found_by_the_refusal(telegram: FakeTelegram, rig: Rig) -> None:
    async def late(turn: Turn) -> None:
        telegram.world.chat(-100999, "supergroup")
        telegram.world.chat(GROUP).moved_to = -100999
        turn.say("found you")
        turn.done()

    rig.agent.script = late
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await until(lambda: telegram.world.visible(-100999) == ["found you"])
    assert telegram.world.visible(GROUP) == []


async def test_reactions_and_joins_reach_nothing(telegram: FakeTelegram, rig: Rig) -> None:
    number = telegram.world.person_says(42, "hi")
    await until(lambda: telegram.world.visible(42))
    telegram.world.person_reacts(42, number, 42)
    telegram.world.person_joins(GROUP, 666)
    await until(lambda: telegram.world.pending() == [])
    assert len(rig.agent.messages) == 1


async def test_an_edit_that_changes_nothing_is_no_turn_and_a_second_edit_replaces_the_first(
    telegram: FakeTelegram, rig: Rig
) -> None:
    number = telegram.world.person_says(42, "one")
    await until(lambda: len(rig.agent.messages) == 1)
    telegram.world.person_edits(42, number, "one")
    telegram.world.person_edits(42, number, "two")
    telegram.world.person_edits(42, number, "one")
    await until(lambda: len(rig.agent.messages) == 3)
    one, two, again = rig.agent.messages
    assert (two.replaces, again.replaces) == (one.message_id, two.message_id)


async def test_an_update_that_nobody_understands_does_not_stop_the_others(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world._put({"message": {"chat": 5, "from": None}})
    telegram.world._put({"edited_message": "?"})
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42) == ["You said: hello"])
    await until(lambda: telegram.world.pending() == [])


async def test_the_same_against_a_server_in_a_process_of_its_own(tmp_path: Path) -> None:
    async with RemoteFake("telegram_server") as fake:
        settings = {"enabled": True, "token": "1:A", "base_url": f"http://127.0.0.1:{fake.port}", "allow_from": ["42"]}
        async with Rig(tmp_path, {"telegram": settings}).running("telegram"):
            await fake("world.person_says", 42, "hello")
            async with asyncio.timeout(10):
                while await fake("world.visible", 42) != ["You said: hello"]:
                    await asyncio.sleep(0.02)

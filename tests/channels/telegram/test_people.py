"""What people and operators do that is easily overlooked, against the Bot API server: the rig of all channels."""

import asyncio
from pathlib import Path
from typing import Any

from tests.channels.rig import Rig, Turn, overloaded, until
from tests.channels.telegram.rigging import GROUP, asking, section
from tests.contracts.channel_contract import PNG
from tests.fakes.telegram_server import FakeTelegram

MEMBER = 7


async def test_a_file_that_telegram_finds_too_large_is_said_and_holds_up_nothing(
    telegram: FakeTelegram, rig: Rig
) -> None:
    async def work(turn: Turn) -> None:
        ref = await rig.media.save(b"x" * 100, mime="application/zip", name="big.zip", owner=turn.message.actor.user)
        turn.tool("pack", (ref,))
        turn.say("packed")
        turn.done()

    rig.agent.script = work
    telegram.refuse("sendDocument", 413, "Request Entity Too Large", times=-1)
    telegram.world.person_says(42, "pack it")
    await until(lambda: "packed" in telegram.world.visible(42))
    assert len([c for c in telegram.calls if c[1] == "sendDocument"]) <= 1
    assert [d["state"] for d in await rig.manager.deliveries()] == ["refused"]


async def test_a_place_that_is_shared_live_is_one_message(telegram: FakeTelegram, rig: Rig) -> None:
    where = {"latitude": 52.5, "longitude": 13.4, "live_period": 3600}
    number = telegram.world.person_says(42, "", location=where)
    await until(lambda: telegram.world.visible(42))
    shown = telegram.world.chat(42).messages[number]
    for step in range(3):
        message = telegram.world._message(telegram.world.chat(42), shown.message_id, 42, {})
        moved = {**where, "latitude": 52.5 + step / 100}
        telegram.world._put({"edited_message": message | {"location": moved, "edit_date": 2_000_000_000 + step}})
    await until(lambda: telegram.world.pending() == [])
    telegram.world.person_says(42, "thanks")
    await until(lambda: "thanks" in rig.agent.texts)
    assert rig.agent.texts == ["[location 52.5, 13.4]", "thanks"]


async def test_a_group_that_moved_may_be_listed_by_its_new_id(telegram: FakeTelegram, tmp_path: Path) -> None:
    new = -100300
    async with Rig(tmp_path, section(telegram)).running("telegram") as rig:
        telegram.world.person_says(GROUP, "@b_bot before", user=MEMBER)
        await until(lambda: telegram.world.visible(GROUP))
        telegram.world.group_moves(GROUP, new)
        await until(lambda: telegram.world.pending() == [])
        telegram.world.person_says(new, "@b_bot after", user=MEMBER)
        await until(lambda: telegram.world.visible(new))
    listed = section(telegram, groups={str(new): {"allow_from": ["*"]}})
    async with Rig(tmp_path, listed).running("telegram") as rig:
        telegram.world.person_says(new, "@b_bot listed anew", user=MEMBER)
        await until(lambda: len(telegram.world.visible(new)) == 2, 3)
        assert rig.agent.texts == ["listed anew"]


async def test_an_album_among_other_messages_is_waited_for(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world.person_sends(42, "photo", b"\x89PNG1", caption="both", album="a1")
    telegram.world.person_says(GROUP, "@b_bot in between", user=MEMBER)
    await asyncio.sleep(0.15)
    telegram.world.person_sends(42, "photo", b"\x89PNG2", album="a1")
    await until(lambda: any(m.text == "both" for m in rig.agent.messages))
    await asyncio.sleep(0.3)
    albums = [m for m in rig.agent.messages if m.media]
    assert [len(m.media) for m in albums] == [2]


async def test_what_a_person_quotes_of_our_answer_is_given(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.world.person_says(42, "hello")
    await until(lambda: telegram.world.visible(42))
    ours = telegram.world.bot_messages(42)[0]
    telegram.world.person_says(42, "what do you mean?", reply_to=ours.message_id, quote={"text": "said", "position": 4})
    await until(lambda: len(rig.agent.messages) == 2)
    assert rig.agent.texts[1] == "> said\n\nwhat do you mean?"


async def test_a_second_tap_on_a_decided_question_changes_nothing(telegram: FakeTelegram, rig: Rig) -> None:
    await asking(telegram, rig)
    question = telegram.world.bot_messages(42)[0].message_id
    data: Any = telegram.world.bot_messages(42)[0].buttons[0][0]["callback_data"]
    telegram.world.tap_data(42, question, data)
    telegram.world.tap_data(42, question, data)
    await until(lambda: "done" in telegram.world.visible(42))
    await until(lambda: len(telegram.world.answered_taps) == 2)
    await asyncio.sleep(0.3)
    text = telegram.world.visible(42)[0]
    assert "Allowed once" in text
    assert "no longer open" not in text
    telegram.world.tap_data(42, question, data)
    await until(lambda: len(telegram.world.answered_taps) == 3)
    await asyncio.sleep(0.3)
    assert telegram.world.visible(42)[0] == text


async def test_a_tap_does_not_wait_for_a_message_that_has_to(telegram: FakeTelegram, rig: Rig) -> None:
    """The session is full until the question is answered: behind the message the answer would never come."""

    async def work(turn: Turn) -> None:
        turn.ask("ap_1")
        await until(lambda: rig.agent.decisions, 30)
        rig.agent.refuse = []
        turn.done()

    rig.agent.script = work
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.world.has_buttons(42))
    rig.agent.refuse = overloaded(10_000)
    telegram.world.person_says(42, "one too many")
    await asyncio.sleep(0.2)
    telegram.world.tap(42, "Allow once")
    await until(lambda: rig.agent.decisions, 3)
    await until(lambda: "one too many" in rig.agent.texts)


async def test_an_edited_caption_leaves_the_album_whole(telegram: FakeTelegram, rig: Rig) -> None:
    numbers = [telegram.world.person_sends(42, "photo", PNG, caption=c, album="a1") for c in ("cast", "")]
    await until(lambda: telegram.world.visible(42) == ["You said: cast"])
    first = next(u["message"] for u in telegram.world.history.values() if u["message"]["message_id"] == numbers[0])
    same = {**first, "edit_date": 2_000_000_000}
    telegram.world._put({"edited_message": same})
    await until(lambda: telegram.world.pending() == [])
    assert len(rig.agent.messages) == 1
    telegram.world._put({"edited_message": {**same, "caption": "cats", "edit_date": 2_000_000_001}})
    await until(lambda: len(rig.agent.messages) == 2)
    before, after = rig.agent.messages
    assert (after.text, len(after.media), after.replaces) == ("cats", 2, before.message_id)
    second = next(u["message"] for u in telegram.world.history.values() if u["message"]["message_id"] == numbers[1])
    telegram.world._put({"edited_message": {**second, "caption": "two of them", "edit_date": 2_000_000_002}})
    await until(lambda: len(rig.agent.messages) == 3)
    last = rig.agent.messages[2]
    assert (last.text, len(last.media), last.replaces) == ("cats\ntwo of them", 2, after.message_id)


async def test_a_question_that_a_crash_may_have_kept_from_arriving_is_asked_again(
    telegram: FakeTelegram, rig: Rig
) -> None:
    """Its turn waits for an answer, and without the question nobody could give one."""

    async def work(turn: Turn) -> None:
        turn.ask("ap_1")
        await until(lambda: rig.agent.decisions, 30)
        turn.say("done")
        turn.done()

    rig.agent.script = rig.script = work
    telegram.fault("sendMessage", kind="stall", seconds=0.2)
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.faults.hits)
    await rig.crash()
    await asyncio.sleep(0.3)
    for number in [m.message_id for m in telegram.world.bot_messages(42)]:  # as if it had not arrived
        telegram.world.person_deletes(42, number)
    await rig.start()
    await until(lambda: telegram.world.has_buttons(42), 4)
    telegram.world.tap(42, "Allow once")
    await until(lambda: "done" in telegram.world.visible(42))
    assert rig.agent.decisions == [("ap_1", "allow_once", "telegram-42")]


async def test_a_voice_that_a_person_does_not_take_goes_as_a_file(telegram: FakeTelegram, rig: Rig) -> None:
    async def speak(turn: Turn) -> None:
        ref = await rig.media.save(b"OggS", mime="audio/ogg", name="a.ogg", owner=turn.message.actor.user)
        turn.tool("speak", (ref,))
        turn.say("spoken")
        turn.done()

    rig.agent.script = speak
    telegram.refuse("sendVoice", 400, "Bad Request: VOICE_MESSAGES_FORBIDDEN")
    telegram.world.person_says(42, "speak")
    await until(lambda: telegram.world.visible(42) == ["[document]", "spoken"])


async def test_two_wishes_to_send_again_are_one_message(telegram: FakeTelegram, rig: Rig) -> None:
    telegram.refuse("sendMessage", 403, "Forbidden: bot was blocked by the user")
    telegram.world.person_says(42, "hello")
    end = asyncio.get_running_loop().time() + 5
    while not (listed := await rig.manager.deliveries()):
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.01)
    wish = listed[0]["delivery_id"]
    await asyncio.gather(*(rig.manager.resend(wish) for _ in range(3)), return_exceptions=True)
    await until(lambda: telegram.world.visible(42))
    await asyncio.sleep(0.5)
    assert telegram.world.visible(42) == ["You said: hello"]

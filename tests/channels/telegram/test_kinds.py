"""Messages that are neither text nor file, groups that move, and answers that nobody would see."""

import sqlite3
from typing import Any

import pytest

from channels.telegram import client
from channels.telegram.parse import Me, Migrated, parse_update
from tests.channels.rig import Rig, Turn, until
from tests.channels.telegram.rigging import GROUP, asking
from tests.fakes.telegram_server import FakeTelegram

NEW = -100400


@pytest.mark.parametrize(
    ("member", "value", "text"),
    [
        ("poll", {"question": "Tea?", "options": [{"text": "yes"}, {"text": "no"}]}, "[poll] Tea?\n- yes\n- no"),
        ("checklist", {"title": "Trip", "tasks": [{"text": "passport"}]}, "[checklist] Trip\n- passport"),
        ("story", {"id": 1}, "[story]"),
        ("game", {"title": "x"}, "[game]"),
        ("paid_media", {"star_count": 1}, "[paid media]"),
        ("sticker", {"file_id": "s", "emoji": "🙂"}, "[sticker 🙂]"),
        ("dice", {"emoji": "🎲", "value": 4}, "[dice 4]"),
    ],
)
async def test_what_is_neither_text_nor_file_is_answered_too(
    telegram: FakeTelegram, rig: Rig, member: str, value: dict[str, Any], text: str
) -> None:
    telegram.world.person_says(42, "", **{member: value})
    await until(lambda: telegram.world.visible(42))
    assert rig.agent.texts == [text]


async def test_a_group_that_moved_is_known_by_its_new_beginning_alone(telegram: FakeTelegram, rig: Rig) -> None:
    """The service message in the old group may be more than a day old, or wait behind another one."""
    telegram.world.chat(NEW, "supergroup")
    telegram.world.moved_here(GROUP, NEW)
    telegram.world.person_says(NEW, "@b_bot hello", user=7)
    await until(lambda: telegram.world.visible(NEW))
    assert rig.agent.texts == ["hello"]
    assert [m.session.text for m in rig.agent.messages] == [f"agent:main:telegram:group:{GROUP}"]


def test_only_telegram_itself_says_that_a_group_moved() -> None:
    chat = {"id": NEW, "type": "supergroup"}
    message = {"message_id": 1, "date": 1, "chat": chat, "from": {"id": 7, "is_bot": False, "first_name": "U"}}
    me = Me(1, "b_bot")

    async def nothing(*_: Any) -> Any:
        return None

    moved = parse_update({"update_id": 1, "message": message | {"migrate_from_chat_id": -5}}, me, nothing, nothing)
    assert moved == Migrated("-5", str(NEW))


async def test_a_move_that_cannot_be_kept_loses_no_answer(
    telegram: FakeTelegram, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    async def slow(turn: Turn) -> None:
        telegram.world.chat(GROUP).moved_to = NEW
        telegram.world.chat(NEW, "supergroup")
        turn.say("here it is")
        turn.done()

    host = rig.manager.host("telegram")
    assert host is not None and host.channel is not None
    monkeypatch.setattr(host.channel.inbound.notes, "keep_note", full)
    rig.agent.script = slow
    telegram.world.person_says(GROUP, "@b_bot go", user=7)
    await until(lambda: telegram.world.visible(NEW) == ["here it is"])
    assert await rig.manager.deliveries() == []


@pytest.mark.parametrize("nothing", ["\u200b", " \u2060\ufeff\n", "\u200e\u200f"])
async def test_an_answer_that_nobody_would_see_is_said_to_be_empty(
    telegram: FakeTelegram, rig: Rig, nothing: str
) -> None:
    async def work(turn: Turn) -> None:
        turn.say(nothing)
        turn.done()

    rig.agent.script = work
    telegram.world.person_says(42, "say nothing")
    await until(lambda: telegram.world.visible(42))
    assert telegram.world.visible(42) == ["(no text in the answer)"]
    assert await rig.manager.deliveries() == []


async def test_an_answer_that_begins_with_blank_lines_streams_by_drafts(telegram: FakeTelegram, rig: Rig) -> None:
    async def work(turn: Turn) -> None:
        turn.say("\n \n")
        await until(lambda: "typing" in telegram.world.chat(42).actions)
        for number in range(15):
            turn.say(f"w{number} ")
            await until(lambda: True)
        await until(lambda: telegram.world.chat(42).drafts)
        turn.done()

    rig.agent.script = work
    telegram.world.person_says(42, "go")
    await until(lambda: telegram.world.visible(42))
    assert telegram.said("editMessageText") == []
    assert len(telegram.said("sendMessage")) == 1


async def test_a_tap_that_telegram_has_forgotten_counts_all_the_same(telegram: FakeTelegram, rig: Rig) -> None:
    await asking(telegram, rig)
    query = telegram.world.tap(42, "Allow once")
    telegram.world.open_taps.discard(query)
    await until(lambda: "done" in telegram.world.visible(42))
    assert rig.state("telegram") == "ready"


async def test_a_file_that_trickles_holds_its_chat_up_for_a_while_only(
    telegram: FakeTelegram, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "DOWNLOAD_SECONDS", 0.3)
    telegram.trickle = 0.05
    telegram.world.person_sends(42, "document", b"x" * 400, name="a.bin", caption="read it")
    telegram.world.person_says(42, "and then?")
    await until(lambda: len(rig.agent.texts) == 2, 5)
    assert rig.agent.texts == ["read it\n\n[file a.bin: could not be fetched]", "and then?"]

"""What a Feishu card cannot hold, what people send besides texts, and in which language a tap is answered."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from channels.feishu.parse import Parent, Self, parse_message
from channels.feishu.render import length, render_markdown
from tests.channels.rig import Rig, Turn, until
from tests.fakes.faults import Fault
from tests.fakes.feishu_rest import rate_limit
from tests.fakes.feishu_server import FakeFeishu, mention, sender
from tests.fakes.feishu_world import Object, too_many_tables

TABLES = "\n\n".join(f"Number {n}\n\n| a | b |\n|---|---|\n| {n} | x |" for n in range(6))


@pytest.fixture
async def feishu() -> AsyncIterator[FakeFeishu]:
    async with FakeFeishu() as fake:
        fake.chat_of("42")
        fake.world.chat("oc_g", "group")
        yield fake


@pytest.fixture
async def rig(feishu: FakeFeishu, tmp_path: Path) -> AsyncIterator[Rig]:
    section = {"enabled": True, "app_id": feishu.app_id, "app_secret": "feishu-secret", "domain": feishu.domain,
               "allow_from": ["42"], "groups": {"oc_g": {"allow_from": ["*"]}}}  # fmt: skip
    async with Rig(tmp_path, {"feishu": section}).running("feishu") as made:
        yield made


@pytest.mark.parametrize("streamed", [True, False])
async def test_an_answer_with_many_tables_stays_a_card(feishu: FakeFeishu, rig: Rig, streamed: bool) -> None:
    async def work(turn: Turn) -> None:
        for line in TABLES.splitlines(keepends=True):
            turn.say(line)
            await asyncio.sleep(0.03 if streamed else 0)
        turn.done()

    rig.agent.script = work
    await feishu.says("42", "compare")
    await until(lambda: rig.agent.memory.ended and rig.manager.states()["feishu"]["queued"] == 0)
    (message,) = feishu.world.shown(feishu.chat_of("42"))
    assert message["msg_type"] == "interactive"
    (text,) = feishu.visible("42")
    assert [f"| {n} | x |" in text for n in range(6)] == [True] * 6
    assert text.count("```") == 6
    assert not too_many_tables(feishu.world.card_of(message))
    elements = feishu.world.card_of(message)["body"]["elements"]
    assert elements[0]["tag"] == "markdown"


def test_few_tables_and_those_in_code_stay_as_they_are() -> None:
    three = "\n\n".join(TABLES.split("\n\n")[:6])
    assert render_markdown(three) == three
    fenced = f"```\n{TABLES}\n```\n\n{three}"
    assert render_markdown(fenced) == fenced
    assert length(TABLES) > len(TABLES)


@pytest.mark.parametrize(
    ("kind", "content", "text", "files"),
    [
        ("hongbao", {"text": "[红包]"}, "[hongbao]", 0),
        ("share_calendar_event", {"summary": "x"}, "[share_calendar_event]", 0),
        ("post", {"title": "", "content": [[{"tag": "emotion", "emoji_type": "SMILE"}]]}, "[SMILE]", 0),
        ("post", {"title": "", "content": [[{"tag": "media", "file_key": "f", "image_key": "i"}]]}, "", 1),
        ("image", {"image_key": "i"}, "", 1),
        ("file", {"file_key": "f", "file_name": "a"}, "", 1),
    ],
)
def test_what_people_send_besides_texts_is_not_passed_over(kind: str, content: Object, text: str, files: int) -> None:
    message = {"message_id": "om", "chat_id": "oc", "chat_type": "p2p", "message_type": kind,
               "content": json.dumps(content), "create_time": "1"}  # fmt: skip

    async def nothing(limit: int) -> bytes:
        return b""

    payload = {"header": {}, "event": {"sender": sender("ou_1"), "message": message}}
    found = parse_message(payload, Self("cli", "ou_bot"), Parent(), lambda *_: nothing)
    assert found is not None
    assert (found.text, len(found.media)) == (text, files)


async def test_a_tap_is_answered_in_the_language_of_its_question(feishu: FakeFeishu, rig: Rig) -> None:
    async def work(turn: Turn) -> None:
        turn.ask("ap_1")
        await until(lambda: rig.agent.decisions)
        turn.say("好")
        turn.done()

    rig.agent.script = work
    await feishu.says("42", "删除这个文件")
    shown = await until(lambda: feishu.world.shown(feishu.chat_of("42")))
    buttons: list[Any] = await until(lambda: feishu.world.buttons(shown[0]))
    push = await feishu.presses("42", shown[0]["message_id"], buttons[0])
    toast = await until(lambda: push.data)
    assert toast["toast"]["content"] == "✅ 已允许一次"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_send_that_is_still_under_way_at_feishu_is_asked_for_again(
    feishu: FakeFeishu, rig: Rig, streamed: bool
) -> None:
    """The answer was lost, and the same uuid comes too soon: a refusal would leave a half or an unlisted answer."""

    async def work(turn: Turn) -> None:
        for number in range(12):
            turn.say(f"w{number} ")
            await asyncio.sleep(0.05 if streamed else 0)
        turn.done()

    rig.agent.script = work
    send = r"im/v1/messages/[^/]+/reply$"
    feishu.faults.add(Fault(send, "POST", kind="lose_answer"))
    busy = {"code": 230049, "msg": "The message is being sent."}
    feishu.faults.add(Fault(send, "POST", status=400, body=busy, times=2))
    await feishu.says("42", "go")
    whole = " ".join(f"w{number}" for number in range(12))
    await until(lambda: [text.strip() for text in feishu.visible("42")] == [whole])
    await until(lambda: rig.manager.states()["feishu"]["queued"] == 0)
    assert await rig.manager.deliveries() == []


async def test_a_reply_to_us_is_known_after_a_restart_and_a_rate_limit(feishu: FakeFeishu, rig: Rig) -> None:
    """Without a mention only the message replied to tells that somebody waits for an answer."""
    await feishu.says("42", "@_user_1 hello", chat="oc_g", mentions=[mention("ou_bot")])
    ours = (await until(lambda: feishu.world.shown("oc_g")))[0]["message_id"]
    await until(lambda: rig.manager.states()["feishu"]["queued"] == 0)
    await rig.crash()
    await rig.start()
    await rig.ready("feishu")
    body, headers = rate_limit(0.1)
    feishu.faults.add(Fault(f"im/v1/messages/{ours}$", "GET", status=429, body=body, headers=headers, times=2))
    await feishu.says("42", "and why?", chat="oc_g", parent_id=ours, root_id=ours)
    await until(lambda: len(feishu.world.shown("oc_g")) == 2)
    assert [m.wants_reply for m in rig.agent.messages] == [True, True]


async def test_a_command_is_answered_in_the_language_that_its_sender_spoke(feishu: FakeFeishu, rig: Rig) -> None:
    """Neither Feishu nor a word like `/help` says it."""
    said = ["/status", "你好", "/help", "👍", "all right", "/help", "日本語でお願いします"]
    for number, text in enumerate(said, start=1):
        await feishu.says("42", text)
        await until(lambda count=number: len(rig.agent.messages) == count)
    assert [m.actor.language for m in rig.agent.messages] == ["en", "zh", "zh", "zh", "en", "en", "en"]

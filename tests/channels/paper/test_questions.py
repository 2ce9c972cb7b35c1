"""Approvals and questions in a chat, on the smallest channel."""

import asyncio
import json
import time
from typing import Any

import pytest

from bus.errors import Forbidden
from bus.events import (
    ApprovalRequested,
    ApprovalResolved,
    QuestionRequested,
)
from bus.keys import SessionKey
from channels import approvals
from channels.ports import Identity, Place
from tests.channels.paper.platform import PaperPlatform, shown
from tests.channels.rig import Rig, until
from tests.channels.rig import Turn as Scripted


def form(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields}


@pytest.mark.parametrize(
    "schema", [{}, form(a={"type": "string"}, b={"type": "string"}), form(a={"type": "array"}), {"type": "object"}]
)
async def test_a_question_that_a_chat_cannot_ask_points_to_where_it_can_be_answered(
    paper: PaperPlatform, rig: Rig, schema: dict[str, Any]
) -> None:
    async def work(turn: Scripted) -> None:
        turn.publish(QuestionRequested, question_id="q", message="Which branch?", schema=schema, user="paper-42")
        turn.done()

    rig.agent.script = work
    await paper.person_says("go")
    await shown(paper, "❓ Which branch?\n\nAnswer it in the web chat.", "(no text in the answer)")
    assert not await paper.has_button("")


def inquiring(schema: dict[str, Any]) -> Any:
    async def work(turn: Scripted) -> None:
        action, content = await turn.inquire(schema)
        turn.say(f"{action} {content}")
        turn.done()

    return work


@pytest.mark.parametrize(
    ("field", "label", "content"),
    [
        ({"type": "boolean", "title": "Sure", "description": "it is gone then"}, "No", False),
        ({"type": "string", "oneOf": [{"const": "r", "title": "Red"}]}, "Red", "r"),
        ({"type": "string", "enum": ["a", "b"], "enumNames": ["First", "Second"]}, "Second", "b"),
    ],
)
async def test_what_can_be_chosen_has_buttons(
    paper: PaperPlatform, rig: Rig, field: dict[str, Any], label: str, content: Any
) -> None:
    rig.agent.script = inquiring(form(it=field))
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    await paper.person_taps(label)
    await until(lambda: rig.agent.answers)
    assert rig.agent.answers[0][1:3] == ("accept", {"it": content})
    if "title" in field:
        assert "Sure – it is gone then" in (await paper.visible())[0]


async def test_a_consent_is_given_and_an_answer_declined(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.script = inquiring(form())
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    await paper.person_taps("OK")
    await shown(paper, "❓ Which one?\n\n✅ OK", "accept {}")
    rig.agent.answers.clear()
    await paper.person_says("go")
    await until(lambda: len(paper.office.walls["42"]) == 3)
    await paper.person_taps("Don't answer")
    await shown(paper, "❓ Which one?\n\n✅ OK", "accept {}", "❓ Which one?\n\n🚫 Not answered", "decline None")


async def test_a_long_list_is_answered_by_a_number_or_a_word(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.script = inquiring(form(it={"type": "string", "enum": [f"branch {n}" for n in range(20)]}))
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    assert "20. branch 19" in (await paper.visible())[0]
    await paper.person_says("something else, by the way")
    await until(lambda: len(rig.agent.messages) == 2)
    await paper.person_says("20")
    await until(lambda: rig.agent.answers)
    assert rig.agent.answers[0][2] == {"it": "branch 19"}


async def test_a_question_goes_with_its_turn_and_with_a_restart(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        asking = asyncio.create_task(turn.inquire(form(it={"type": "boolean"})))
        await until(lambda: len(paper.office.walls.get("42", ())) == turn.attempt)
        if turn.attempt == 2:
            asking.cancel()
            turn.say("never mind")
            turn.done()
        await asyncio.gather(asking, return_exceptions=True)

    rig.agent.script = rig.script = work
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42") and rig.manager.states()["paper"]["queued"] == 0)
    await asyncio.sleep(0.1)
    await rig.crash()
    await rig.start()
    closed = "❓ Which one?\n\nThis question is no longer open."
    await shown(paper, closed, closed, "never mind")
    assert not await paper.has_button("")


async def test_a_late_answer_closes_the_question_and_a_late_text_is_a_message(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.script = inquiring(form(it={"type": "string"}))
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    rig.agent.questions.clear()
    await paper.person_says("too late")
    await until(lambda: "too late" in rig.agent.texts)
    await until(lambda: not paper.office.walls["42"]["n1"].buttons)
    assert "no longer open" in (await paper.visible())[0]


@pytest.mark.attack(46)
async def test_commands_and_files_are_no_answers(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.script = inquiring(form(it={"type": "string"}))
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    await paper.person_says("/status")
    await paper.person_sends(b"x", kind="file", caption="look")
    await until(lambda: len(rig.agent.messages) == 3)
    assert rig.agent.answers == []


@pytest.mark.attack(46)
async def test_who_may_not_approve_may_not_answer(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> bool:
        raise Forbidden("this needs the scope approve")

    rig.agent.script = inquiring(form(it={"type": "string"}))
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    monkeypatch.setattr(rig.agent, "answer", refuse)
    await paper.person_says("main")
    await until(lambda: len(paper.office.walls["42"]) == 2)
    assert (await paper.visible())[1] == "this needs the scope approve"
    assert await paper.has_button("Don't answer")


async def test_where_only_the_bridge_may_answer_there_are_no_buttons(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9", where="bridge")
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not any("ai-bridge approve ch_9" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)
    assert not await paper.has_button("Allow")


async def test_an_approval_that_expired_loses_its_buttons(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9")
        await asyncio.sleep(0.3)
        turn.publish(ApprovalResolved, approval_id="ch_9", decision="expired", by="", user="paper-42")
        turn.say("then not")
        turn.done()

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not any("⌛ Expired" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)
    assert not await paper.has_button("Allow")


async def test_a_tap_on_a_question_that_nobody_asks_any_more(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9")
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not await paper.has_button("Deny"):
            await asyncio.sleep(0.01)
    rig.agent.asked.clear()
    await paper.person_taps("Deny")
    async with asyncio.timeout(5):
        while await paper.has_button("Deny"):
            await asyncio.sleep(0.01)
    assert rig.agent.decisions == []


@pytest.mark.attack(46)
async def test_a_forbidden_decision_leaves_the_question_open(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(turn: Scripted) -> None:
        turn.ask("ch_9")
        await asyncio.sleep(30)

    async def refuse(*_: object) -> bool:
        raise Forbidden("not by you")

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not await paper.has_button("Deny"):
            await asyncio.sleep(0.01)
    monkeypatch.setattr(rig.agent, "resolve", refuse)
    await paper.person_taps("Deny")
    await until(lambda: paper.office.letters == [])
    assert await paper.has_button("Deny")


@pytest.mark.attack(60)
def test_a_question_about_megabytes_is_made_at_once() -> None:
    """They were looked at letter by letter, on the loop, to show the first 1,200."""
    event = ApprovalRequested(
        approval_id="a", call_id="c", tool="fs_write", arguments={"text": "\u202e\x07é" * 1_000_000}, risk="",
        expires_at="", user="u", session=SessionKey("agent:main:paper:direct:42"), message_id="m", seq=1,
    )  # fmt: skip
    begun = time.process_time()
    text = approvals.question(event, "en", by_buttons=True)
    whole = time.process_time() - begun
    begun = time.process_time()
    json.dumps(event.arguments, ensure_ascii=False, indent=1)
    assert whole < 3 * (time.process_time() - begun) + 0.02
    assert len(text) < 1500 and "\\u202e" in text and text.endswith(" …\n```")


async def test_arguments_cannot_leave_their_fence(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.publish(
            ApprovalRequested, approval_id="a", call_id="c", tool="fs_`write`", risk="",
            arguments={"text": "```\n**admin: approve all**\u202e"}, expires_at="", user="paper-42",
        )  # fmt: skip
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    text = (await paper.visible())[0]
    assert "````json" in text
    assert "\u202e" not in text and "\\u202e" in text
    assert "`write`" not in text


async def test_chinese_people_get_chinese_buttons(paper: PaperPlatform, rig: Rig) -> None:
    rig.agent.script = _asking
    channel = rig.manager.host("paper")
    assert channel is not None and channel.channel is not None
    from channels.base import Incoming

    identity = Identity(channel="paper", account="office", peer="42", language="zh")
    place = Place(channel="paper", account="office", kind="direct", chat="42")
    await channel.channel.receive(
        Incoming(key="z", identity=identity, place=place, text="删除", message_id="z", at=time.time())
    )
    async with asyncio.timeout(5):
        while not await paper.has_button("允许一次"):
            await asyncio.sleep(0.01)


async def _asking(turn: Scripted) -> None:
    turn.ask("ch_9")
    await asyncio.sleep(30)

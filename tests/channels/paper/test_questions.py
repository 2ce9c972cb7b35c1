"""Approvals and questions in a chat, on the smallest channel."""

import asyncio
import time

import pytest

from bus.errors import Forbidden
from bus.events import (
    ApprovalRequested,
    ApprovalResolved,
    QuestionRequested,
)
from channels.ports import Identity, Place
from tests.channels.paper.platform import PaperPlatform, shown
from tests.channels.rig import Rig, until
from tests.channels.rig import Turn as Scripted


async def test_a_question_of_a_tool_server_is_told(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Scripted) -> None:
        turn.publish(QuestionRequested, question_id="q", message="Which branch?", schema={}, user="paper-42")
        turn.done()

    rig.agent.script = work
    await paper.person_says("go")
    async with asyncio.timeout(5):
        while not any("Which branch?" in text for text in await paper.visible()):
            await asyncio.sleep(0.01)
    await shown(paper, "❓ Which branch?\n\nAnswer it in the web chat.", "(no text in the answer)")


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

"""Restarts with something in the way, on the smallest channel."""

import asyncio
import sqlite3
from typing import Any

import pytest

from bus.errors import Overloaded
from bus.keys import SessionKey
from channels.ledger import Ledger
from channels.outbox import Outbox
from channels.ports import Outcome
from tests.channels.paper.platform import PaperPlatform, shown
from tests.channels.rig import Rig, Turn, until


async def test_an_end_that_cannot_be_asked_for_yet_is_asked_for_again(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def work(turn: Turn) -> None:
        turn.say("half of it")
        await asyncio.sleep(30)

    rig.agent.script = work
    await paper.person_says("go")
    await until(lambda: paper.office.walls.get("42"))
    await rig.crash()
    (message,) = rig.memory.accepted
    rig.memory.ended[message] = "the whole of it"
    troubles: list[Exception] = [Overloaded("not now"), OSError("too many open files")]
    outcome = type(rig.agent).outcome

    async def troubled(self: Any, session: SessionKey, message_id: str) -> Outcome:
        if troubles:
            raise troubles.pop(0)
        return await outcome(self, session, message_id)

    monkeypatch.setattr("tests.channels.rig.TalkingAgent.outcome", troubled)
    monkeypatch.setattr("channels.taking_up.ASK_AGAIN_SECONDS", 0.05)
    await rig.start()
    await shown(paper, "the whole of it")


async def test_an_answer_that_could_not_be_crossed_out_for_a_while_is_not_given_again(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk refused in the moment of the answer, and took again what came after."""

    async def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("channels.lane.KEEP_AGAIN_SECONDS", 0.05)
    with monkeypatch.context() as broken:
        for kind, name in ((Outbox, "save"), (Ledger, "close_turn"), (Ledger, "answered")):
            broken.setattr(kind, name, full)
        await paper.person_says("hello")
        await shown(paper, "You said: hello")
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.2)
    await rig.crash()
    await rig.start()
    await rig.ready("paper")
    await asyncio.sleep(0.5)
    assert await paper.visible() == ["You said: hello"]
    assert await rig.manager.deliveries() == []

"""Restarts with something in the way, on the smallest channel."""

import asyncio
import sqlite3
from typing import Any

import pytest

from bus.errors import Overloaded
from bus.events import Actor, MediaRef
from bus.keys import SessionKey
from channels.attachments import Attachments
from channels.base import Address, MediaHandle, Reaction
from channels.ledger import Ledger
from channels.outbox import Outbox
from channels.ports import Identity, Outcome, Place
from tests.channels.paper.platform import PaperPlatform, shown
from tests.channels.paper.test_manager import _say
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


async def test_a_message_whose_sender_leaves_when_it_is_durable_is_answered_as_any_other(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancelled between the acceptance and the note of it, as when a platform hangs up."""
    going = asyncio.Event()

    async def work(turn: Turn) -> None:
        await going.wait()
        turn.say("all of it")
        turn.done()

    async def endless(*_: object) -> None:
        await asyncio.sleep(30)

    rig.agent.script = work
    host = rig.manager.host("paper")
    assert host is not None and host.channel is not None
    with monkeypatch.context() as slow:
        slow.setattr(Ledger, "see", endless)
        task = asyncio.ensure_future(_say(rig, host.channel, "hello"))
        await until(lambda: rig.agent.messages)
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    (message,) = rig.agent.messages
    assert host._expected == {}
    going.set()
    await shown(paper, "all of it")
    await until(lambda: not host.waits(message.message_id, Address(kind="direct", chat="42")))


async def test_files_beyond_the_most_are_named_and_not_lost_without_a_word() -> None:
    async def fetch(limit: int) -> bytes:
        return b"x"

    class Shelf:
        async def save(self, data: bytes, *, mime: str, name: str, owner: str) -> MediaRef:
            return MediaRef(media_id=name, mime=mime, name=name, size=len(data))

        async def read(self, ref: MediaRef, owner: str) -> bytes:
            return b""

    handles = [MediaHandle(kind="image", mime="image/png", name=f"{n}.png", size=1, fetch=fetch) for n in range(23)]
    taken = await Attachments(Shelf(), None).take(handles, Actor(user="u"), 10)
    assert (len(taken.refs), taken.texts) == (20, ("[3 more files: not taken]",))


async def test_a_stranger_s_reaction_does_not_use_up_his_code(paper: PaperPlatform, rig: Rig) -> None:
    """Nothing is said to a reaction; what he writes after it within ten minutes is still met with the hint."""
    host = rig.manager.host("paper")
    assert host is not None and host.channel is not None
    who = Identity(channel="paper", account="office", peer="666")
    place = Place(channel="paper", account="office", kind="direct", chat="666")
    await host.channel.receive_reaction(Reaction(key="r", identity=who, place=place, what="reaction 👍"))
    await paper.person_says("hello", person="666")
    async with asyncio.timeout(3):
        while not any("pair approve" in text for text in await paper.visible(person="666")):
            await asyncio.sleep(0.01)

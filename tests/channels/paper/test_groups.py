"""What belongs to one person in a group, and what a chat cannot take, on the smallest channel."""

import asyncio
from dataclasses import replace
from typing import Any

from bus.events import Actor, InboundMessage
from bus.keys import group_key
from tests.channels.paper.platform import PaperPlatform, elsewhere, shown
from tests.channels.rig import Rig, Turn, echo, until
from tests.fakes.paper_channel import Note


async def buttons(paper: PaperPlatform, group: str | None = None) -> None:
    async with asyncio.timeout(5):
        while not await paper.has_button("Allow once", group=group):
            await asyncio.sleep(0.01)


async def test_what_is_asked_in_a_group_by_a_turn_from_elsewhere_is_answered_by_whose_it_is(
    paper: PaperPlatform, rig: Rig
) -> None:
    """Somebody else spoke last there: his word neither counts, nor does it keep the other's from counting."""
    await paper.person_says("hello", person="7", group="room-1", mentioned=True)
    await shown(paper, "You said: hello", group="room-1")

    async def work(turn: Turn) -> None:
        await asyncio.sleep(0.1)
        turn.ask("ap_1")
        await until(lambda: rig.agent.decisions)
        turn.say("done")
        turn.done()

    rig.agent.script = work
    due: InboundMessage = replace(
        elsewhere(rig, group_key("paper", "room-1")), text="tidy up", origin="", actor=Actor(user="paper-42")
    )
    await rig.bus.submit(due)
    await buttons(paper, "room-1")
    await paper.person_taps("Allow once", person="7", group="room-1")
    await until(lambda: paper.office.letters == [])
    assert rig.agent.decisions == []
    await paper.person_taps("Allow once", person="42", group="room-1")
    await until(lambda: rig.agent.decisions == [("ap_1", "allow_once", "paper-42")])


async def test_two_presses_after_a_restart_are_one_decision(paper: PaperPlatform, rig: Rig) -> None:
    async def work(turn: Turn) -> None:
        if turn.attempt == 1:
            turn.ask("ap_1")
        await asyncio.sleep(30)

    rig.agent.script = rig.script = work
    await paper.person_says("go")
    await buttons(paper)
    await asyncio.sleep(0.1)
    asked = dict(rig.agent.asked)
    await rig.crash()
    await rig.start()
    rig.agent.asked = {name: _of(rig, turn) for name, turn in asked.items()}
    await rig.ready("paper")
    channel: Any = rig.manager.host("paper").channel
    await paper.person_taps("Allow once")
    letter = paper.office.letters[0]
    await asyncio.gather(*(channel._take(replace(letter, number=f"again{n}")) for n in range(3)))
    await asyncio.sleep(0.4)
    (text,) = [text for text in await paper.visible() if "fs_delete_file" in text]
    assert text.endswith("✅ Allowed once")
    assert len(rig.agent.decisions) == 1


def _of(rig: Rig, turn: Turn) -> Turn:
    turn.agent = rig.agent
    return turn


async def test_a_file_that_the_platform_cannot_take_is_said_and_not_offered(paper: PaperPlatform, rig: Rig) -> None:
    channel = rig.manager.host("paper").channel
    assert channel is not None
    channel.capabilities = replace(channel.capabilities, upload_bytes=3_000_000)

    async def pack(turn: Turn) -> None:
        data = bytes(4_000_000)
        ref = await rig.media.save(data, mime="application/zip", name="big.zip", owner=turn.message.actor.user)
        turn.tool("pack", (ref,))
        await echo(turn)

    rig.agent.script = pack
    await paper.person_says("pack it")
    async with asyncio.timeout(5):
        while sorted(await paper.visible()) != ["You said: pack it", "📎 big.zip is too large (limit 2 MB)."]:
            await asyncio.sleep(0.01)
    assert [(d["state"], d["preview"]) for d in await rig.manager.deliveries()] == [("refused", "big.zip")]


async def test_an_edit_in_a_group_takes_nothing_of_the_others_away(paper: PaperPlatform, rig: Rig) -> None:
    """What takes the place of an earlier message hides all that came after it, and that is not the editor's alone."""
    said = await paper.person_says("lunch at nonn", person="7", group="room-1")
    await until(lambda: len(rig.agent.messages) == 1)
    asked = await paper.person_says("when is lnch?", group="room-1", mentioned=True)
    await shown(paper, "You said: when is lnch?", group="room-1")
    await until(lambda: rig.manager.states()["paper"]["queued"] == 0)
    for person, number, text in (("7", said, "lunch at noon"), ("42", asked, "when is lunch?")):
        note = Note(f"e{number}", "room-1", person, text, mentioned=person == "42", edits=number)
        paper.office.post(note)
        await until(lambda: paper.office.letters == [])
    assert [(m.text, m.replaces) for m in rig.agent.messages[2:]] == [
        ("P7: lunch at noon", None),
        ("when is lunch?", None),
    ]
    await shown(paper, "You said: when is lnch?", "You said: when is lunch?", group="room-1")


async def test_an_edit_in_a_group_while_it_is_being_answered_is_answered_instead(
    paper: PaperPlatform, rig: Rig
) -> None:
    going = asyncio.Event()

    async def work(turn: Turn) -> None:
        await going.wait()
        await echo(turn)

    rig.agent.script = work
    asked = await paper.person_says("when is lnch?", group="room-1", mentioned=True)
    await until(lambda: len(rig.agent.messages) == 1)
    paper.office.post(Note("e1", "room-1", "42", "when is lunch?", mentioned=True, edits=asked))
    await until(lambda: len(rig.agent.messages) == 2)
    going.set()
    assert rig.agent.messages[1].replaces == rig.agent.messages[0].message_id

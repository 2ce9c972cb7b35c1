"""The channels' disk refuses for a while: what was delivered meanwhile is known afterwards, and not delivered again."""

import asyncio
import sqlite3
from typing import Any

import pytest

from channels import lane
from channels.database import Database
from tests.channels.paper.platform import PaperPlatform, shown
from tests.channels.rig import Rig, Turn


@pytest.mark.attack(72)
async def test_an_outcome_that_the_disk_refused_is_kept_when_it_takes_it_again(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "KEEP_AGAIN_SECONDS", 0.1)
    original, refusals, full = Database.run, 0, False

    async def run(self: Database, work: Any) -> Any:
        nonlocal refusals
        if full:
            refusals += 1
            raise sqlite3.OperationalError("database or disk is full")
        return await original(self, work)

    async def work(turn: Turn) -> None:
        nonlocal full
        full = True
        turn.say("Here it is.")
        turn.done()

    monkeypatch.setattr(Database, "run", run)
    rig.agent.script = work
    await paper.person_says("go")
    await shown(paper, "Here it is.")
    await asyncio.sleep(0.35)
    assert 2 <= refusals < 20  # it was tried again, and not in a circle
    full = False
    await asyncio.sleep(0.3)
    await rig.crash()
    await rig.start()
    await rig.ready("paper")
    await asyncio.sleep(0.3)
    await shown(paper, "Here it is.")
    assert sum(note.text == "Here it is." for notes in paper.office.walls.values() for note in notes.values()) == 1

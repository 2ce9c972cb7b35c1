"""A disk that refuses for a while, a service that is begun again, a stop: the channels live on, or end whole."""

import asyncio
import sqlite3
import threading

import pytest

from channels import manager
from channels.errors import ChannelUnavailable
from tests.channels.paper.platform import PaperPlatform, shown
from tests.channels.rig import Rig, until


async def refuse(rig: Rig, on: bool) -> None:
    """Let the channels' file take nothing, or everything again."""

    def set_it(connection: sqlite3.Connection) -> None:
        connection.execute(f"PRAGMA query_only = {'ON' if on else 'OFF'}")

    await rig.manager._database.run(set_it)


@pytest.mark.attack(72)
async def test_a_file_that_cannot_be_tidied_up_is_no_reason_to_end(
    paper: PaperPlatform, rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(manager, "PRUNE_SECONDS", 0.01)
    await rig.crash()
    await rig.start()
    await rig.ready("paper")
    await refuse(rig, True)
    await until(lambda: "tidied" in caplog.text)
    await refuse(rig, False)
    assert rig._task is not None and not rig._task.done()
    await paper.person_says("still there?")
    await shown(paper, "You said: still there?")


async def test_channels_that_are_begun_again_bring_answers_again(paper: PaperPlatform, rig: Rig) -> None:
    """As `gateway/keeping.py` does it after a fault: the same manager, run once more."""
    await paper.person_says("first")
    await shown(paper, "You said: first")
    assert rig._task is not None
    rig._task.cancel()
    await asyncio.wait([rig._task])
    rig._task = asyncio.get_running_loop().create_task(rig.manager.run())
    await rig.ready("paper")
    await paper.person_says("second")
    await shown(paper, "You said: first", "You said: second")


async def test_what_is_being_written_down_is_waited_for_at_the_end(paper: PaperPlatform, rig: Rig) -> None:
    await paper.person_says("hello")
    await shown(paper, "You said: hello")
    async with asyncio.timeout(5):
        await rig.manager.drained()
    host = rig.manager.host("paper")
    assert host is not None
    (lane,) = host._lanes.values()
    held = threading.Event()
    busy = asyncio.ensure_future(rig.manager._database.run(lambda connection: held.wait(5)))
    try:
        lane.finals.append(("msg_1", "the answer"))
        lane.wake()
        await asyncio.sleep(0.05)
        assert host.busy
    finally:
        held.set()
        await busy
    async with asyncio.timeout(5):
        await rig.manager.drained()


async def test_one_channel_that_cannot_pause_keeps_nobody_from_stopping(paper: PaperPlatform, rig: Rig) -> None:
    host = rig.manager.host("paper")
    assert host is not None
    assert host.channel is not None

    async def pause() -> None:
        raise ChannelUnavailable("the office is locked")

    host.channel.pause = pause
    await rig.manager.pause()


@pytest.mark.attack(71)
async def test_a_stranger_whose_code_cannot_be_kept_is_met_with_silence(paper: PaperPlatform, rig: Rig) -> None:
    (rig.folder / "identity.json.new").mkdir()
    await paper.person_says("let me in", person="99")
    await paper.person_says("hello")
    await shown(paper, "You said: hello")
    assert await paper.visible(person="99") == []
    (rig.folder / "identity.json.new").rmdir()
    await paper.person_says("let me in now", person="99")
    await until(lambda: paper.office.walls.get("99"))

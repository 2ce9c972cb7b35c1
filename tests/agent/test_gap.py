"""What comes between the disk's no to a record and that one's being told, and what a lane knows of its session then."""

import asyncio
from pathlib import Path

import pytest

from bus.errors import Overloaded
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.disks import RefusingDisk
from tests.fakes.models import StallingModel

KEY = default_key("alice")


async def test_a_message_in_between_begins_the_session_itself(tmp_path: Path) -> None:
    model = StallingModel()
    agent = Agent(tmp_path, model)
    agent.disk = disk = RefusingDisk()
    async with running(agent):
        disk.refuses = {"write"}
        refused = asyncio.create_task(agent.send("refused"))
        async with asyncio.timeout(10):
            while not agent.store._overlay.live.get(KEY.identity):  # it is on its way
                await asyncio.sleep(0)
            while agent.store._overlay.live.get(KEY.identity):  # the disk has refused it, and its sender is not told
                await asyncio.sleep(0)
        assert not refused.done()
        disk.refuses = set()
        said = await agent.send("hello")
        with pytest.raises(Overloaded):
            await refused
        assert await agent.loop.rename(KEY, "kept") == "kept"
        await agent.loop.update(KEY, {"mode": "fast"})
        again = await agent.send("and this")
        model.go_on.set()
        await agent.end(said)
        assert (await agent.end(again)).text == "half whole"
        state = await agent.store.state(KEY)
        assert state is not None and (state.head.title, state.head.settings) == ("kept", {"mode": "fast"})
        messages, _ = await agent.store.history(KEY, limit=9, before_seq=None)
        assert [one["text"] for one in messages if one["role"] == "user"] == ["hello", "and this"]

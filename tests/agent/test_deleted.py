"""A message that comes while its session is being deleted goes with it or begins a new one, and nothing in between."""

import asyncio
from pathlib import Path

from bus.events import Actor
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.models import StallingModel

KEY = default_key("alice")


async def test_a_turn_that_begins_during_a_deletion_leaves_nothing_in_the_session_that_comes_after(
    tmp_path: Path,
) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model)) as agent:
        await agent.send("first")
        await model.streaming.wait()
        deleting = asyncio.create_task(agent.loop.delete(KEY, Actor(user="alice")))
        await asyncio.sleep(0)  # the running turn is cut; its end is on its way to the disk
        late = await agent.send("late")
        await deleting
        assert (await agent.store.history(KEY, limit=10, before_seq=None))[0] == []
        new = await agent.send("new")
        model.go_on.set()
        await agent.end(new)
        assert len(agent.ends(late.message_id)) == 1
        said = [m["text"] for m in (await agent.store.history(KEY, limit=10, before_seq=None))[0]]
        assert said == ["new", "half whole"]

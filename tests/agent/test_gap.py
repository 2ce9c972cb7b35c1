"""A message that comes between the disk's no to the one that was to begin its session, and that one's being told."""

from pathlib import Path

from bus.events import Actor
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.models import EchoModel

KEY = default_key("alice")


async def test_it_begins_the_session_itself(tmp_path: Path) -> None:
    async with running(Agent(tmp_path, EchoModel())) as agent:
        await agent.ask("before")
        await agent.loop.delete(KEY, Actor(user="alice"))
        lane = await agent.loop._lanes.enter(KEY)
        # As it stands in that moment: the lane believes what the store has taken back.
        lane.exists = True
        said = await agent.send("hello")
        assert (await agent.end(said)).text == "you said: hello"
        agent.loop._lanes.leave(lane)
        messages, _ = await agent.store.history(KEY, limit=9, before_seq=None)
        assert [one["text"] for one in messages] == ["hello", "you said: hello"]

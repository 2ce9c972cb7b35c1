"""A message that comes while its session is being deleted goes with it or begins a new one, and nothing in between."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent import loop
from agent.lane import Pending
from agent.sessions import records as kinds
from bus.events import Actor
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.models import EchoModel, StallingModel

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


async def test_what_is_deleted_while_it_is_taken_up_again_has_no_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn that ran behind the tombstone reserved numbers there, and the session could not go on."""
    model = StallingModel()
    async with running(Agent(tmp_path, model, limits={"drain_seconds": 0})) as agent:
        left = await agent.send("left")
        await model.streaming.wait()
    original, read, go_on = loop.pending_turns, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> list[Pending]:
        found = await original(*arguments)
        read.set()
        await go_on.wait()
        return found

    monkeypatch.setattr(loop, "pending_turns", slowly)
    async with running(Agent(tmp_path, EchoModel())) as agent:
        await read.wait()
        await agent.loop.delete(KEY, Actor(user="alice"))
        go_on.set()
        assert (await agent.ask("new")).text == "you said: new"
        assert agent.of(left.message_id) == []
        records = await agent.store.read(KEY, types=frozenset({kinds.MESSAGE}))
        assert [record.data["text"] for record in records] == ["new"]

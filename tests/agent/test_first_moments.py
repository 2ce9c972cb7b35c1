"""What is said in the first moments after a start reaches the turns of before, though they are still being read."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from agent import loop
from agent.lane import Pending
from agent.sessions import records as kinds
from bus.errors import CallCancelled
from bus.events import Accepted, Actor, ChatError
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.models import EchoModel, StallingModel

KEY = default_key("alice")
ALICE = Actor(user="alice")


@pytest.fixture
async def left(tmp_path: Path) -> tuple[Accepted, Accepted]:
    """A turn that a stop cut, and one that waited behind it."""
    model = StallingModel()
    async with running(Agent(tmp_path, model, limits={"drain_seconds": 0})) as agent:
        first = await agent.send("first")
        await model.streaming.wait()
        return first, await agent.send("second")


@asynccontextmanager
async def being_read(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Event]:
    """The agent runs, and reads what was left open only when the event is set."""
    original, reading, go_on = loop.pending_turns, asyncio.Event(), asyncio.Event()

    async def slowly(*arguments: Any) -> list[Pending]:
        reading.set()
        await go_on.wait()
        return await original(*arguments)

    monkeypatch.setattr(loop, "pending_turns", slowly)
    async with running(agent):
        await reading.wait()
        yield go_on


async def during(reading: asyncio.Event, asked: Awaitable[Any]) -> Any:
    """The result of what is asked while the reading goes on."""
    task = asyncio.ensure_future(asked)
    await asyncio.sleep(0.05)
    reading.set()
    return await task


def stopped(agent: Agent, one: Accepted) -> bool:
    (end,) = agent.ends(one.message_id)
    return isinstance(end, ChatError) and end.code == CallCancelled.code


async def test_a_stop_ends_the_turn_that_was_left(
    tmp_path: Path, left: tuple[Accepted, Accepted], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, EchoModel())
    async with being_read(agent, monkeypatch) as reading:
        said = await during(reading, agent.ask("/stop"))
        assert said.text == "Stopped."
        assert (await agent.end(left[1])).text == "you said: second"
        assert stopped(agent, left[0])


async def test_a_new_conversation_ends_all_that_was_left(
    tmp_path: Path, left: tuple[Accepted, Accepted], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, EchoModel())
    async with being_read(agent, monkeypatch) as reading:
        await during(reading, agent.ask("/new"))
        assert (await agent.ask("third")).text == "you said: third"
        assert stopped(agent, left[0]) and stopped(agent, left[1])


async def test_a_deletion_ends_all_that_was_left(
    tmp_path: Path, left: tuple[Accepted, Accepted], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, EchoModel())
    async with being_read(agent, monkeypatch) as reading:
        await during(reading, agent.loop.delete(KEY, ALICE))
        assert stopped(agent, left[0]) and stopped(agent, left[1])
        assert (await agent.ask("third")).text == "you said: third"
        records = await agent.store.read(KEY, types=frozenset({kinds.MESSAGE}))
        assert [record.data["text"] for record in records] == ["third"]


@pytest.mark.parametrize("named", [True, False])
async def test_a_message_that_was_left_can_be_aborted(
    tmp_path: Path, left: tuple[Accepted, Accepted], monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    agent = Agent(tmp_path, EchoModel())
    key = KEY if named else None
    async with being_read(agent, monkeypatch) as reading:
        assert await during(reading, agent.loop.abort(user="alice", key=key, message_id=left[1].message_id))
        assert (await agent.end(left[0])).text == "you said: first"
        assert stopped(agent, left[1])


async def test_an_edited_message_takes_the_place_of_the_one_that_was_left(
    tmp_path: Path, left: tuple[Accepted, Accepted], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = Agent(tmp_path, EchoModel())
    async with being_read(agent, monkeypatch) as reading:
        assert (await during(reading, agent.ask("better", replaces=left[0].message_id))).text == "you said: better"
        assert stopped(agent, left[0])

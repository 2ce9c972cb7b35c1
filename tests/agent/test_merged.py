"""A message that was merged into another's turn has that turn: stopping it or editing it stops the answer to both."""

import asyncio
import threading
from pathlib import Path

import pytest

from bus.errors import NotFound, Overloaded
from bus.keys import default_key
from tests.agent.harness import Agent, Tools, running
from tests.fakes.disks import RefusingDisk
from tests.fakes.models import ScriptedModel, StallingModel

COLLECT = {"queue": "collect", "gather_seconds": 0.1}


async def test_stopping_a_collected_message_stops_the_turn_that_answers_it(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model, settings=COLLECT)) as agent:
        first, second = await asyncio.gather(agent.send("one"), agent.send("two"))
        await model.streaming.wait()
        with pytest.raises(NotFound):
            await agent.loop.abort(user="bob", message_id=second.message_id)
        assert await agent.loop.abort(user="alice", message_id=second.message_id)
        assert (await agent.end(first)).code == 1009
        assert (await agent.end(second)).finish_reason == "merged"
        assert not await agent.loop.abort(user="alice", message_id=second.message_id)
        assert len(agent.ends(first.message_id)) == len(agent.ends(second.message_id)) == 1


def steered(folder: Path, *answers: str) -> tuple[Agent, Tools, asyncio.Event]:
    """A turn that a second message joins at its first call; in its second it stands still, and the event is set."""
    tools, standing = Tools(), asyncio.Event()
    model = ScriptedModel(("", [("c1", "say", "{}")]), ("", [("c2", "stand", "{}")]), *answers)

    async def say(call: object) -> str:
        tools.second = await agent.send("and this")
        return "said"

    async def stand(call: object) -> str:
        standing.set()
        await asyncio.Event().wait()
        return ""

    tools.add("say", say)
    tools.add("stand", stand)
    agent = Agent(folder, model, tools, settings={"queue": "steer"})
    return agent, tools, standing


async def test_stopping_a_steered_message_stops_the_turn_that_it_joined(tmp_path: Path) -> None:
    agent, tools, standing = steered(tmp_path, "never said")
    async with running(agent):
        first = await agent.send("go")
        await standing.wait()
        assert await agent.loop.abort(user="alice", message_id=tools.second.message_id)
        assert (await agent.end(first)).code == 1009
        assert (await agent.end(tools.second)).finish_reason == "merged"


async def test_editing_a_collected_message_takes_the_place_of_the_answer_to_the_first_wording(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model, settings=COLLECT)) as agent:
        first, second = await asyncio.gather(agent.send("one"), agent.send("two"))
        await model.streaming.wait()
        third = await agent.send("three", replaces=second.message_id)
        assert (await agent.end(first)).code == 1009
        model.go_on.set()
        assert (await agent.end(third)).text == "half whole"


class HesitatingDisk(RefusingDisk):
    """Takes its time before it refuses what holds a word."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def write(self, fd: int, data: bytes) -> None:
        if b"unlucky" in data:
            self.go_on.wait(10)
            raise OSError(self.error, "no space left on device")
        super().write(fd, data)


async def test_a_merged_message_that_the_disk_refused_after_all_has_no_end(tmp_path: Path) -> None:
    model = StallingModel()
    agent = Agent(tmp_path, model, settings=COLLECT)
    agent.disk = disk = HesitatingDisk()
    async with running(agent):
        first = await agent.send("one")
        unlucky = asyncio.create_task(agent.send("unlucky"))
        await model.streaming.wait()  # of both: the second waits for the disk
        model.go_on.set()
        await asyncio.sleep(0.05)
        disk.go_on.set()
        with pytest.raises(Overloaded):
            await unlucky
        assert (await agent.end(first)).text == "half whole"
        assert (await agent.ask("three")).text == "half whole"
        ended = {event.message_id for event in agent.events if hasattr(event, "finish_reason")}
        assert len(ended) == 2
        messages, _ = await agent.store.history(default_key("alice"), limit=20, before_seq=None)
        assert [m["text"] for m in messages if m["role"] == "user"] == ["one", "three"]


def talk(model: ScriptedModel) -> list[str]:
    """What the last request held, the system prompt left out."""
    return [str(said["content"] if said["role"] != "tool" else "-") for said in model.requests[-1].messages[1:]]


async def test_editing_a_steered_message_leaves_what_was_said_before_it(tmp_path: Path) -> None:
    agent, tools, standing = steered(tmp_path, "both", "next")
    async with running(agent):
        await agent.send("go")
        await standing.wait()
        third = await agent.send("rather that", replaces=tools.second.message_id)
        assert (await agent.end(third)).text == "both"
        assert talk(agent.model) == ["go", "None", "-", "rather that"]


async def test_editing_a_collected_message_that_was_answered_leaves_what_was_said_before_it(tmp_path: Path) -> None:
    model = ScriptedModel("both", "better")
    async with running(Agent(tmp_path, model, settings=COLLECT)) as agent:
        first, second = await asyncio.gather(agent.send("one"), agent.send("two"))
        await agent.end(first)
        await agent.ask("three", replaces=second.message_id)
        assert talk(model) == ["one", "three"]
    async with running(Agent(tmp_path, ScriptedModel("!"))) as agent:
        await agent.ask("four")
        assert talk(agent.model) == ["one", "three", "better", "four"]


@pytest.mark.parametrize("queue", ["collect", "steer"])
async def test_a_restart_keeps_the_place_of_what_joined_a_turn(tmp_path: Path, queue: str) -> None:
    """Behind the answer to it, it would be answered once more."""
    tools = Tools()
    model = ScriptedModel(("", [("c1", "say", "{}")]), ("", [("c2", "look", "{}")]), "both")

    async def say(call: object) -> str:
        if queue == "steer":
            await agent.send("two")
        return "said"

    tools.add("say", say)
    tools.add("look", lambda call: "looked")
    agent = Agent(tmp_path, model, tools, settings={"queue": queue, "gather_seconds": 0.1})
    async with running(agent):
        texts = ["one"] if queue == "steer" else ["one", "two"]
        first, *_ = await asyncio.gather(*(agent.send(text) for text in texts))
        await agent.end(first)
        before = talk(model)
    async with running(Agent(tmp_path, ScriptedModel("!"), tools)) as agent:
        await agent.ask("three")
        assert talk(agent.model) == [*before, "both", "three"]


@pytest.mark.parametrize("call_ends", [False, True])
async def test_what_joins_a_turn_that_a_restart_took_up_does_not_part_a_call_from_its_result(
    tmp_path: Path, call_ends: bool
) -> None:
    """The session stops in mid round with another message waiting; both are answered as one afterwards."""
    tools, standing = Tools(), asyncio.Event()

    async def stand(call: object) -> str:
        standing.set()
        await asyncio.Event().wait()
        return ""

    tools.add("look", lambda call: "looked", read_only=True)
    tools.add("stand", stand, read_only=True)
    calls = [("c1", "stand", "{}"), *[("c2", "look", "{}")] * call_ends]
    agent = Agent(tmp_path, ScriptedModel(("", calls)), tools, settings=COLLECT, limits={"drain_seconds": 0})
    async with running(agent):
        await agent.send("one")
        await standing.wait()
        await agent.send("two")
    tools.add("stand", lambda call: "stood", read_only=True)
    model = ScriptedModel("both")
    async with running(Agent(tmp_path, model, tools, settings=COLLECT)) as agent:
        await agent.until(lambda: [event for event in agent.events if getattr(event, "text", "") == "both"])
        roles = [said["role"] for said in model.requests[0].messages[1:]]
        assert roles == ["user", "user", "assistant", *["tool"] * len(calls)]

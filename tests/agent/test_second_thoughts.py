"""What comes in the midst of something: a second stop, /new while older turns are told in short, a broken book."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from agent.compaction import Compactor
from agent.lane import record
from agent.lanes import Lanes
from agent.ports.models import ModelReply, ModelRequest
from agent.ports.people import Charge
from agent.ports.sessions import SessionHead
from agent.sessions import records as kinds
from agent.sessions.jsonl_store import JsonlStore
from agent.settings import AgentSettings
from bus.errors import Overloaded
from bus.events import Actor, ChatDelta, ChatDone, ChatError
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.agent.test_compaction import SummingModel
from tests.agent.test_refused import until_taken
from tests.fakes.disks import RefusingDisk
from tests.fakes.models import EchoModel, StallingModel

KEY = default_key("alice")
ALICE = Actor(user="alice")


class SlowBook:
    """Keeps what a turn cost only when it is let."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()

    async def check(self, actor: Actor) -> str:
        return ""

    async def charge(self, charges: Sequence[Charge]) -> None:
        self.asked.set()
        await self.go_on.wait()


class FullBook(SlowBook):
    """Its disk is full."""

    async def charge(self, charges: Sequence[Charge]) -> None:
        raise sqlite3.OperationalError("database or disk is full")


@pytest.mark.attack(68)
async def test_a_second_stop_while_the_first_is_written_down_changes_nothing(tmp_path: Path) -> None:
    agent, book, model = Agent(tmp_path, StallingModel()), SlowBook(), StallingModel()
    agent.accountant, agent.model = book, model
    async with running(agent):
        item = await agent.send("a")
        await model.streaming.wait()
        assert await agent.loop.abort(user="alice", key=KEY)
        await book.asked.wait()
        assert not await agent.loop.abort(user="alice", key=KEY)
        book.go_on.set()
        end = await agent.end(item)
        assert isinstance(end, ChatError) and end.code == 1009
        assert len(agent.ends(item.message_id)) == 1


async def test_a_stop_that_comes_when_the_turn_has_failed_leaves_its_end(tmp_path: Path) -> None:
    model, book = StallingModel(), SlowBook()
    agent = Agent(tmp_path, model, limits={"turn_seconds": 0.05})
    agent.accountant = book
    async with running(agent):
        item = await agent.send("a")
        await book.asked.wait()
        assert not await agent.loop.abort(user="alice", key=KEY)
        book.go_on.set()
        assert (await agent.end(item)).code == 1004


async def test_a_stop_before_the_turns_first_step_leaves_its_end_and_the_session_alive(tmp_path: Path) -> None:
    agent = Agent(tmp_path, EchoModel())
    async with running(agent):
        sending = asyncio.ensure_future(agent.send("a"))
        while agent.loop.running(KEY) is None:
            await asyncio.sleep(0)  # between the moment when the turn is begun and its task's first step
        assert await agent.loop.abort(user="alice", key=KEY)
        end = await agent.end(await sending)
        assert isinstance(end, ChatError) and end.code == 1009
        assert isinstance(await agent.ask("b"), ChatDone)


async def test_a_command_in_mid_answer_leaves_no_number_that_a_crash_would_give_again(tmp_path: Path) -> None:
    """An end in the log means that no numbers are reserved: a turn that goes on beside it reserves its own again."""
    model = StallingModel()
    agent = Agent(tmp_path, model)
    async with running(agent):
        item = await agent.send("a")
        await model.streaming.wait()
        await agent.ask("/status")
        model.go_on.set()
        await agent.end(item)
        last_delta = [event.seq for event in agent.events if isinstance(event, ChatDelta)][-1]
        (command, _) = await agent.store.read(KEY, types=frozenset({kinds.DONE}))
        (again,) = await agent.store.read(KEY, types=frozenset({kinds.SEQ_RESERVED}))
        assert command.seq < again.seq <= last_delta < again.data["reserved"]


@pytest.mark.attack(71)
async def test_a_message_that_the_disk_does_not_let_be_stopped_waits_on_and_has_its_turn(tmp_path: Path) -> None:
    disk, model = RefusingDisk(), StallingModel()
    agent = Agent(tmp_path, model)
    agent.disk = disk
    async with running(agent):
        first, second = await agent.send("a"), await agent.send("b")
        await model.streaming.wait()
        disk.refuses = {"write"}
        with pytest.raises(Overloaded):
            await agent.loop.abort(user="alice", message_id=second.message_id)
        disk.refuses = set()
        model.go_on.set()
        assert [type(await agent.end(item)) for item in (first, second)] == [ChatDone, ChatDone]


class SlowSummingModel(SummingModel):
    """Takes its time to tell a talk in short."""

    def __init__(self) -> None:
        super().__init__()
        self.summing = asyncio.Event()
        self.go_on = asyncio.Event()

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        if "in short" in str(request.messages[0]["content"])[:40]:
            self.summing.set()
            await self.go_on.wait()
        return await super().stream(request, on_delta)


@pytest.mark.parametrize("how", ["new", "deleted"])
async def test_what_was_told_in_short_does_not_come_back_into_a_new_talk(tmp_path: Path, how: str) -> None:
    model = SlowSummingModel()
    agent = Agent(tmp_path, model, settings={"window_messages": 8})
    agent.compactor = Compactor(model)
    async with running(agent):
        for number in range(4):
            await agent.ask(f"number {number}")
        await model.summing.wait()
        if how == "new":
            await agent.ask("/new")
        else:
            await agent.loop.delete(KEY, Actor(user="alice"))
        await agent.ask("something else")
        model.go_on.set()
        await asyncio.sleep(0.1)
        await agent.ask("next")
        assert "numbers" not in str(model.requests[-1].messages)
        assert not await agent.store.read(KEY, types=frozenset({kinds.SUMMARY}))


async def test_a_book_that_breaks_in_a_summary_costs_the_summary_and_not_the_house(tmp_path: Path) -> None:
    model = SummingModel()
    agent = Agent(tmp_path, model, settings={"window_messages": 8})
    agent.accountant = FullBook()
    agent.compactor = Compactor(model, agent.accountant)
    async with running(agent):
        for number in range(4):
            await agent.ask(f"number {number}")
        async with asyncio.timeout(5):
            while len(model.requests) < 5:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        assert isinstance(await agent.ask("still there?"), ChatDone)


async def test_a_message_that_comes_while_the_window_is_read_again_is_in_it(tmp_path: Path) -> None:
    async with JsonlStore(tmp_path) as store:
        lanes = Lanes(store, lambda event: None, AgentSettings())
        lane = await lanes.enter(KEY)
        head = SessionHead(key=KEY, agent_id="main", channel="websocket", peer_id="alice", owner="alice", created_at="")
        await lane.append(record(lane.take(), kinds.MESSAGE, {"message_id": "one", "text": "one"}), head=head)
        reading = asyncio.ensure_future(lanes.reload(lane))
        await asyncio.sleep(0)
        durable = lane.append(record(lane.take(), kinds.MESSAGE, {"message_id": "two", "text": "two"}))
        await reading
        await durable
        assert lane.window.holds("one") and lane.window.holds("two")
        lanes.leave(lane)


async def test_what_is_said_while_a_session_is_being_deleted_begins_a_new_one(tmp_path: Path) -> None:
    agent = Agent(tmp_path, EchoModel())
    async with running(agent):
        await agent.ask("before")
        deleting = asyncio.ensure_future(agent.loop.delete(KEY, Actor(user="alice")))
        await asyncio.sleep(0)
        assert not deleting.done()
        item = await agent.send("after")
        await deleting
        assert (await agent.end(item)).text == "you said: after"
        messages, _ = await agent.store.history(KEY)
        assert [message["text"] for message in messages] == ["after", "you said: after"]
        assert "before" not in str(agent.model.requests[-1].messages)


async def test_settings_that_the_disk_refused_are_not_in_force(tmp_path: Path) -> None:
    agent = Agent(tmp_path, EchoModel())
    agent.disk = disk = RefusingDisk()
    async with running(agent):
        lane = await agent.loop._lanes.enter(KEY)  # somebody else has it, too
        disk.refuses = {"write"}
        assert "Mode" not in (await answered(agent, "/mode fast"))
        disk.refuses = set()
        assert not lane.exists and lane.head is None
        await agent.ask("hello")
        disk.refuses = {"write"}
        assert "Mode" not in (await answered(agent, "/mode fast"))
        disk.refuses = set()
        assert lane.exists and lane.settings.get("mode") is None
        agent.loop._lanes.leave(lane)


@pytest.mark.parametrize("what", ["reset", "deletion"])
async def test_what_a_refused_reset_was_to_forget_is_known_still(tmp_path: Path, what: str) -> None:
    agent = Agent(tmp_path, EchoModel())
    agent.disk = disk = RefusingDisk()
    async with running(agent):
        await agent.ask("my cat is called Miu")
        disk.refuses = {"write"}
        with pytest.raises(Overloaded):
            await (agent.loop.update(KEY, {"reset": True}) if what == "reset" else agent.loop.delete(KEY, ALICE))
        disk.refuses = set()
        await until_taken(agent, "how is it called?")
        assert "Miu" in str(agent.model.requests[-1].messages)


async def test_settings_that_the_disk_refuses_when_their_sender_has_left_are_not_in_force(tmp_path: Path) -> None:
    agent = Agent(tmp_path, EchoModel())
    agent.disk = disk = RefusingDisk()
    async with running(agent):
        await agent.ask("hello")
        lane = await agent.loop._lanes.enter(KEY)  # somebody else has it, too
        disk.refuses = {"write"}
        asking = asyncio.create_task(agent.loop.update(KEY, {"mode": "fast"}))
        await asyncio.sleep(0)
        assert lane.settings.get("mode") == "fast"
        asking.cancel()
        async with asyncio.timeout(5):
            while lane.settings.get("mode") is not None:
                await asyncio.sleep(0.01)
        disk.refuses = set()
        agent.loop._lanes.leave(lane)


async def answered(agent: Agent, text: str) -> str:
    """The answer to a command; '' where it could not be kept."""
    try:
        return str((await agent.ask(text)).text)
    except Overloaded:
        return ""


async def test_an_edit_takes_its_own_place_in_a_full_queue(tmp_path: Path) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model, limits={"queued_messages_per_session": 2})) as agent:
        await agent.send("first")
        await model.streaming.wait()
        waiting = [await agent.send(f"waiting {number}") for number in range(2)]
        with pytest.raises(Overloaded):
            await agent.send("one more")
        edited = await agent.send("edited", replaces=waiting[0].message_id)
        assert (await agent.end(waiting[0])).code == 1009
        model.go_on.set()
        assert (await agent.end(edited)).text == "half whole"


@pytest.mark.parametrize("when", ["waiting", "running", "answered"])
async def test_what_was_edited_into_a_command_is_not_asked_any_more(tmp_path: Path, when: str) -> None:
    model = StallingModel()
    async with running(Agent(tmp_path, model)) as agent:
        if when == "waiting":
            await agent.send("first")
            await model.streaming.wait()
        slip = await agent.send("help")
        if when == "running":
            await model.streaming.wait()
        elif when == "answered":
            model.go_on.set()
            await agent.end(slip)
        assert "/new" in (await agent.ask("/help", replaces=slip.message_id)).text
        if when != "answered":
            assert (await agent.end(slip)).code == 1009
        model.go_on.set()
        await agent.ask("next")
        said = [one["content"] for one in model.requests[-1].messages if one["role"] == "user"]
        assert said == (["first", "next"] if when == "waiting" else ["next"])

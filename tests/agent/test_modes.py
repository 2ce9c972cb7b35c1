"""How a turn is answered: fast and hand-over, parts side by side, auto's choice; through the real loop over HTTP."""

import asyncio
import json
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.accounts import Accounts
from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.modes.multi import MAX_PARTS
from agent.ports.models import ModelReply, ModelRequest
from agent.ports.tools import ToolCall
from agent.settings import BudgetSettings, ModelSettings
from bus.errors import ToolDenied
from bus.events import AgentNote, ChatDelta, ChatDone, ChatError, ChatStarted, ToolFinished, ToolStarted
from bus.keys import default_key
from tests.agent.harness import Agent, Tools, running
from tests.fakes.models import EchoModel
from tests.fakes.openai_server import OpenAIServer

PLAN = 'say {"parts": [{"title": "one", "task": "task-one"}, {"title": "two", "task": "task-two"}]}'
REQUEST = "please do:\n- the first thing\n- the second thing\n- the third thing"


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running_server:
        yield running_server


@asynccontextmanager
async def at_work(
    server: OpenAIServer, folder: Path, mode: str = "auto", *, rounds: int = 25, **models: int
) -> AsyncIterator[Any]:
    """An agent with a tool that looks, one that is denied, and one model for each tier asked for."""
    entries = [
        ModelSettings(name=name, base_url=server.url, model=name, tier=tier, api_key=SecretStr("k"),
                      input_price=1.0, output_price=2.0, cached_price=0.5)
        for name, tier in (models or {"main": 1}).items()
    ]  # fmt: skip
    pool = ModelPool(entries, DemoModel(0))
    tools = Tools()
    tools.add("look", lambda call: f"seen {call.arguments.get('at', '')}", read_only=True)
    tools.add("forbidden", refuse)
    agent = Agent(folder / "sessions", pool, tools, settings={"mode": mode, "max_rounds": rounds})
    try:
        async with Accounts(folder / "usage.db", BudgetSettings()) as accounts:
            agent.accountant = accounts
            async with running(agent):
                yield agent
    finally:
        await pool.close()


def refuse(call: ToolCall) -> str:
    raise ToolDenied("forbidden is denied here")


def started(agent: Any, end: Any) -> ChatStarted:
    return next(event for event in agent.of(end.message_id) if isinstance(event, ChatStarted))


def notes(agent: Any, end: Any) -> list[tuple[str, str]]:
    return [(e.agent, e.state) for e in agent.of(end.message_id) if isinstance(e, AgentNote)]


def deltas(agent: Any, end: Any) -> str:
    return "".join(event.delta for event in agent.of(end.message_id) if isinstance(event, ChatDelta))


# ---------------------------------------------------------------- fast


async def test_fast_is_one_call_to_the_cheapest_without_tools(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, dear=2, main=1, cheap=0) as agent:
        server.queue = ["say Hello there"]
        end = await agent.ask("hello")
        assert (end.text, started(agent, end).mode, started(agent, end).reason) == ("Hello there", "fast", "a greeting")
        (request,) = server.requests
        assert request["model"] == "cheap" and "tools" not in request
        assert notes(agent, end) == []
        shown = await agent.ask("/mode")
        assert "fast (a greeting)" in shown.text


@pytest.mark.parametrize("said", ["say HANDOVER", "say HANDOVER because I need a tool", "status 500", "refused-key"])
async def test_fast_hands_over_and_nothing_of_it_is_seen(server: OpenAIServer, tmp_path: Path, said: str) -> None:
    async with at_work(server, tmp_path, "fast", cheap=0, main=1) as agent:
        server.script = [{"match": "what", "do": said, "count": 1}]
        end = await agent.ask("what is it?")
        assert isinstance(end, ChatDone)
        assert "HANDOVER" not in deltas(agent, end) and "You said: what is it?" in end.text == deltas(agent, end)
        if said.startswith("say"):
            assert notes(agent, end) == [("supervisor", "handover")]
            assert server.requests[-1]["model"] == "main" and server.requests[-1]["tools"]
        server.script = [{"match": "clock", "do": "say HAND over fist", "count": 1}]
        assert (await agent.ask("a clock?")).text == "HAND over fist"


@pytest.mark.attack(65)
@pytest.mark.parametrize("text", ["hello", "tell me", REQUEST])
@pytest.mark.parametrize(("said", "requests"), [("status 500", 2), ("refused-key", 1)])
async def test_a_model_that_fails_is_asked_once_more_at_most_whatever_the_mode(
    server: OpenAIServer, tmp_path: Path, text: str, said: str, requests: int
) -> None:
    async with at_work(server, tmp_path) as agent:
        server.script = [{"match": "", "do": said}]
        assert isinstance(await agent.ask(text), ChatError)
        assert len(server.requests) == requests


@pytest.mark.parametrize(("said", "shown"), [("cut HAND", "HAND"), ("cut HANDOVER", "You said: hello")])
async def test_what_a_cut_answer_had_said_is_shown_unless_it_was_the_handover(
    server: OpenAIServer, tmp_path: Path, said: str, shown: str
) -> None:
    async with at_work(server, tmp_path) as agent:
        server.queue = [said]
        end = await agent.ask("hello")
        assert deltas(agent, end) == shown and isinstance(end, ChatDone if "said" in shown else ChatError)


async def test_a_dearer_model_is_asked_where_the_cheapest_could_not(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "fast", cheap=0, main=1, dear=2) as agent:
        server.queue = ["say HANDOVER", "status 500", "say from the dearest"]
        end = await agent.ask("what is it?")
        assert end.text == "from the dearest"
        assert [request["model"] for request in server.requests] == ["cheap", "main", "dear"]
        told = {entry["name"]: entry for entry in agent.model.describe()}
        assert told["main"]["failures"] == {"server": 1} and agent.model.failovers == 1


async def test_the_record_names_the_model_that_answered(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "fast", cheap=0, main=1) as agent:
        server.queue = ["status 500", "say from the other"]
        end = await agent.ask("hello")
        assert (end.text, started(agent, end).model) == ("from the other", "cheap")
        (done,) = await agent.store.read(end.session, types=frozenset({"chat.done"}))
        assert done.data["model"] == "main"


# ---------------------------------------------------------------- multi


async def test_parts_side_by_side_and_one_answer(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path) as agent:
        server.script = [
            {"match": "Results of the parts", "do": "say All of it"},
            {"match": "task-one", "do": 'tool look {"at": "SECRETPLACE"}'},
            {"match": "task-two", "do": "say SECRETTEXT two"},
            {"match": "first thing", "do": PLAN},
        ]
        end = await agent.ask(REQUEST)
        assert (started(agent, end).mode, started(agent, end).reason) == ("multi", "3 parts")
        assert end.text == deltas(agent, end) == "All of it"
        assert set(notes(agent, end)) == {
            ("supervisor", "plan"), ("1", "started"), ("1", "finished"), ("2", "started"), ("2", "finished")
        }  # fmt: skip
        assert [e.agent for e in agent.of(end.message_id) if isinstance(e, ToolStarted)] == ["1"]
        told = json.dumps(server.requests[-1]["messages"])
        assert "SECRETPLACE" in told and "SECRETTEXT two" in told
        messages, _ = await agent.store.history(default_key("alice"))
        assert "SECRET" not in json.dumps([m for m in messages if m["role"] == "assistant"])
        # the next turn's history has the answer, and nothing of the parts
        await agent.ask("and then?")
        assert "SECRET" not in json.dumps(server.requests[-1]["messages"])
        # one budget: the turn's usage is the sum of what the provider counted for all its rounds
        total = (await agent.accountant.usage("alice", 1))["total"]
        assert total["tool_calls"] == 1 and total["turns"] == 2


async def test_a_part_that_fails_is_told_to_who_writes_the_answer(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "multi") as agent:
        server.script = [
            {"match": "Results of the parts", "do": "echo"},
            {"match": "task-one", "do": "status 400"},
            {"match": "task-two", "do": "tool forbidden {}"},
            {"match": "first thing", "do": PLAN},
        ]
        end = await agent.ask(REQUEST)
        assert isinstance(end, ChatDone)
        assert "this part failed" in end.text and "forbidden is denied here" in end.text
        assert ("1", "failed") in notes(agent, end) and ("2", "finished") in notes(agent, end)
        (finished,) = [e for e in agent.of(end.message_id) if isinstance(e, ToolFinished)]
        assert finished.is_error


async def test_what_failed_is_said_where_the_model_keeps_it_to_itself(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "multi") as agent:
        server.script = [
            {"match": "Results of the parts", "do": "say All went well."},
            {"match": "task-one", "do": "status 400"},
            {"match": "task-two", "do": "say two"},
            {"match": "first thing", "do": PLAN},
        ]
        end = await agent.ask(REQUEST)
        assert end.text == deltas(agent, end) == "All went well.\n\n*Not everything could be done: “one” failed.*"


async def test_a_part_has_the_tools_that_the_plan_gives_it(server: OpenAIServer, tmp_path: Path) -> None:
    parts = [
        {"title": "one", "task": "task-one", "tools": ["look", "nonsense", 5]},
        {"title": "two", "task": "task-two"},
    ]
    async with at_work(server, tmp_path, "multi") as agent:
        server.script = [
            {"match": "Results of the parts", "do": "say done"},
            {"match": "task-", "do": "say found"},
            {"match": "first thing", "do": "say " + json.dumps({"parts": parts})},
        ]
        await agent.ask(REQUEST)
        planner, *workers, _ = server.requests
        assert "look" in planner["messages"][0]["content"]
        given = {
            request["messages"][-1]["content"]: {tool["function"]["name"] for tool in request["tools"]}
            for request in workers
        }
        assert given["task-one"] == {"look"} < given["task-two"]


async def test_the_parts_share_the_rounds_of_the_turn(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "multi", rounds=5) as agent:
        server.script = [
            {"match": "Results of the parts", "do": "say partly"},
            {"match": "task-", "do": "tool-loop look"},
            {"match": "first thing", "do": PLAN},
        ]
        end = await agent.ask(REQUEST)
        assert len(server.requests) == 1 + 5 + 1
        assert "Not everything could be done: “one”, “two” failed." in end.text


async def test_parts_are_bounded_in_number_and_breadth(server: OpenAIServer, tmp_path: Path) -> None:
    parts = [{"title": f"t{n}", "task": f"task-{n}"} for n in range(12)]
    async with at_work(server, tmp_path, "multi") as agent:
        most = 0
        server.script = [
            {"match": "Results of the parts", "do": "say done"},
            {"match": "task-", "do": "slow 5 4"},
            {"match": "first thing", "do": "say " + json.dumps({"parts": parts})},
        ]
        accepted = await agent.send(REQUEST)
        while not agent.ends(accepted.message_id):
            most = max(most, server.open)
            await asyncio.sleep(0.002)
        assert len(server.requests) == MAX_PARTS + 2
        assert 2 <= most <= 3


async def test_no_plan_is_the_tool_loop(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "multi") as agent:
        server.script = [{"match": "hello", "do": "say no JSON here", "count": 1}]
        end = await agent.ask("hello")
        assert end.text == "You said: hello"
        assert notes(agent, end) == [("supervisor", "handover")]


@pytest.mark.quiet
async def test_an_abort_in_the_middle_ends_all_parts(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path, "multi") as agent:
        server.script = [{"match": "task-", "do": "silent"}, {"match": "first thing", "do": PLAN}]
        accepted = await agent.send(REQUEST)
        async with asyncio.timeout(5):
            while server.open < 2:
                await asyncio.sleep(0.005)
        began = time.monotonic()
        assert await agent.loop.abort(user="alice", key=default_key("alice"))
        end = await agent.end(accepted)
        async with asyncio.timeout(2):
            while server.open:
                await asyncio.sleep(0.002)
        assert time.monotonic() - began < 0.25
        assert isinstance(end, ChatError) and end.code == 1009
        assert len(agent.ends(accepted.message_id)) == 1
        # the plan's tokens were spent, and are accounted
        assert (await agent.accountant.usage("alice", 1))["total"]["total_tokens"] > 0
        server.script = []
        assert (await agent.ask("hello")).text


async def test_what_each_turn_was_and_why_is_counted(server: OpenAIServer, tmp_path: Path) -> None:
    async with at_work(server, tmp_path) as agent:
        end = await agent.ask("read the file for me")
        assert (started(agent, end).mode, started(agent, end).reason) == ("single", "may need tools")
        await agent.ask("/mode multi")
        end = await agent.ask("read the file for me")
        assert (started(agent, end).mode, started(agent, end).reason) == ("multi", "asked for")


class PagesModel(EchoModel):
    """Writes megabytes, and notes how much memory one more word takes."""

    peak = 0

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        for _ in range(2_000):
            on_delta("p" * 1_000)
        tracemalloc.start()
        on_delta("end")
        self.peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return ModelReply(text="", finish_reason="stop", model="pages")


async def test_a_word_of_a_long_answer_copies_nothing_of_it(tmp_path: Path) -> None:
    model = PagesModel()
    async with running(Agent(tmp_path, model)) as agent:
        done = await agent.ask("write")
    assert len(done.text) == 2_000_003
    assert model.peak < 100_000

"""Whole turns: the loop, the real clients, a scripted model server over HTTP, the built-in tools."""

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.settings import ModelSettings
from agent.tools.builtin.catalogue import builtins
from bus.events import ChatDelta, ChatDone, ChatError, ToolFinished, ToolStarted
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.openai_server import OpenAIServer

KEY = default_key("alice")


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running_server:
        yield running_server


@pytest.fixture
async def agent(server: OpenAIServer, tmp_path: Path) -> AsyncIterator[Any]:
    entry = ModelSettings(
        name="main", base_url=server.url, model="scripted", api_key=SecretStr("sk-very-secret"), stall_seconds=0.4,
        first_token_seconds=0.6,
    )  # fmt: skip
    pool = ModelPool([entry], DemoModel(0))
    async with running(Agent(tmp_path / "sessions", pool, builtins(tmp_path).source)) as house:
        yield house
    await pool.close()


def deltas(agent: Any, end: Any) -> str:
    return "".join(event.delta for event in agent.of(end.message_id) if isinstance(event, ChatDelta))


async def texts(agent: Any) -> list[tuple[str, str]]:
    messages, _ = await agent.store.history(KEY, limit=100, before_seq=None)
    return [(message["role"], message["text"]) for message in messages]


@pytest.mark.attack(65)
@pytest.mark.parametrize(
    ("said", "code", "partial"),
    [("!silent", 1004, ""), ("!stalling", 1004, "It begins "), ("!cut", 2003, "This will be cut"), ("!html", 2003, ""),
     ("!garbage", 2003, ""), ("!status 500", 2003, ""), ("!truncated", 2003, "This ends too"),
     ("!rate-limited 60", 1005, ""), ("!error-midstream", 2003, "Half ")],
)  # fmt: skip
async def test_a_model_that_fails_is_one_error_with_what_was_said_kept(
    agent: Any, server: OpenAIServer, said: str, code: int, partial: str
) -> None:
    end = await agent.ask(said)
    assert isinstance(end, ChatError)
    assert (end.code, deltas(agent, end)) == (code, partial)
    assert len(agent.ends(end.message_id)) == 1
    assert len(server.requests) <= (1 if partial else 2)
    if partial:
        assert any(partial in text for role, text in await texts(agent) if role == "assistant")
    assert isinstance(await agent.ask("and now?"), ChatDone)


@pytest.mark.attack(65)
@pytest.mark.parametrize("said", ["!endless", "!huge-delta"])
async def test_too_much_is_done_with_length(agent: Any, said: str) -> None:
    end = await agent.ask(said)
    assert isinstance(end, ChatDone)
    assert (end.finish_reason, len(end.text)) == ("length", 262_144)
    assert deltas(agent, end) == end.text


async def test_a_refused_key_is_said_in_the_persons_language(agent: Any) -> None:
    end = await agent.ask("!refused-key")
    assert "OPENAI_API_KEY" in end.message
    assert "secret" not in end.message
    assert not end.retryable


async def test_a_tool_round(agent: Any, server: OpenAIServer) -> None:
    end = await agent.ask('!tool calculator {"expression": "6*7"}')
    assert '"result": 42' in end.text
    assert [type(e) for e in agent.of(end.message_id) if isinstance(e, ToolStarted | ToolFinished)] == [
        ToolStarted,
        ToolFinished,
    ]
    assert end.usage.total_tokens > 0
    first, second = server.requests
    assert [tool["function"]["name"] for tool in first["tools"]][:2] == ["clock", "calculator"]
    assert second["messages"][-1]["role"] == "tool"
    assert second["messages"][-2]["tool_calls"][0]["id"] == second["messages"][-1]["tool_call_id"]
    assert second["messages"][: len(first["messages"])] == first["messages"]  # a prefix that caches hit
    assert second["tools"] == first["tools"]


@pytest.mark.attack(66)
@pytest.mark.parametrize(
    ("said", "told"),
    [("!tool nope {}", "There is no tool named"), ("!tool clock {\"zone\": 5}", "is not of type"),
     ("!tool clock {\"zone\": \"UT", "not valid JSON"), ("!huge-arguments", "never mind"),
     ("!same-ids clock", "both done"),
     ("!tool-without-index clock {}", "Tool said"), ("!many-calls 1000 clock", "enough")],
)  # fmt: skip
async def test_bad_calls_are_answered_and_the_turn_goes_on(
    agent: Any, server: OpenAIServer, said: str, told: str
) -> None:
    end = await agent.ask(said)
    assert isinstance(end, ChatDone)
    assert told in end.text
    started = [event.call_id for event in agent.of(end.message_id) if isinstance(event, ToolStarted)]
    finished = [event.call_id for event in agent.of(end.message_id) if isinstance(event, ToolFinished)]
    assert sorted(started) == sorted(finished)
    assert len(set(started)) == len(started)
    assert max(len(str(request)) for request in server.requests) < 500_000
    assert (await agent.ask("still there?")).text == "You said: still there?"


@pytest.mark.attack(66)
async def test_after_three_repairs_it_goes_on_without_tools(agent: Any, server: OpenAIServer) -> None:
    end = await agent.ask("!broken-arguments clock")
    assert isinstance(end, ChatDone)
    assert ["tools" in request for request in server.requests] == [True] * 4 + [False]
    assert "round in circles" in end.text


@pytest.mark.attack(67)
@pytest.mark.parametrize(
    ("said", "rounds"), [('!tool-loop calculator {"expression": "1"}', 5), ("!ping-pong calculator calculator", 25)]
)
async def test_a_model_that_calls_for_ever_is_stopped_and_it_is_said(
    agent: Any, server: OpenAIServer, said: str, rounds: int
) -> None:
    end = await agent.ask(said)
    assert isinstance(end, ChatDone)
    assert end.finish_reason == "length"
    assert "I stopped here" in end.text
    assert rounds <= len(server.requests) <= rounds + 1
    assert (await texts(agent))[0] == ("user", said)


@pytest.mark.quiet
@pytest.mark.attack(68)
async def test_stopping_in_mid_answer_closes_the_request_within_100_ms(agent: Any, server: OpenAIServer) -> None:
    accepted = await agent.send("!slow 10 1000")
    await agent.until(lambda: sum(isinstance(event, ChatDelta) for event in agent.of(accepted.message_id)) > 3)
    started = time.monotonic()
    await agent.send("/stop")
    end = await agent.end(accepted)
    while server.open:
        await asyncio.sleep(0.002)
    assert time.monotonic() - started < 0.25
    assert (type(end), end.code) == (ChatError, 1009)
    assert deltas(agent, end).startswith("word0 word1")

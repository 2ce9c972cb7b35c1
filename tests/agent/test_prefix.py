"""What a provider may cache stays as it was: each request begins as the one before it, and the hits are measured."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.persona import Personas
from agent.settings import ModelSettings, ToolSettings
from agent.tools.builtin.catalogue import builtins
from bus.keys import default_key
from tests.agent.harness import Agent, running
from tests.fakes.openai_server import OpenAIServer


@pytest.fixture
async def server() -> AsyncIterator[OpenAIServer]:
    async with OpenAIServer() as running_server:
        yield running_server


@pytest.fixture
async def agent(server: OpenAIServer, tmp_path: Path) -> AsyncIterator[Any]:
    entry = ModelSettings(name="main", base_url=server.url, model="scripted", api_key=SecretStr("k"))
    pool = ModelPool([entry], DemoModel(0))
    made = builtins(tmp_path, ToolSettings(disabled=frozenset({"web_fetch", "web_search"})))
    house = Agent(tmp_path / "sessions", pool, made.source)
    house.persona = Personas(tmp_path, look_seconds=0).text
    try:
        async with running(house):
            yield house
    finally:
        await pool.close()


async def test_each_request_begins_as_the_one_before(agent: Any, server: OpenAIServer) -> None:
    for text in ("hello", "!tool clock {}", "!many-calls 3 clock", "你好", "/mode", "!status 400", "and now?"):
        await agent.ask(text)
    assert len(server.requests) >= 8
    for before, after in zip(server.requests, server.requests[1:], strict=False):
        count = len(before["messages"])
        assert after["messages"][:count] == before["messages"]
        assert after["tools"] == before["tools"]
    done = await agent.ask("once more")
    assert done.usage.cached_tokens == server.usage[-1]["prompt_tokens_details"]["cached_tokens"] > 0


async def test_what_one_taught_reaches_nobody_else(agent: Any, server: OpenAIServer, tmp_path: Path) -> None:
    for folder, text in (("users/alice", "Call me ALICESNAME."), ("users/bob", "Answer in rhymes, says BOBSWISH.")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "AGENTS.md").write_text(text)
    await agent.ask('!tool memory {"action": "remember", "text": "my cat is called ALICESCAT"}')
    recalled = await agent.ask('!tool memory {"action": "recall", "query": "cat"}', key=default_key("alice"))
    assert "ALICESCAT" in recalled.text
    await agent.send('!tool memory {"action": "recall", "query": "cat"}', user="bob")
    await agent.until(lambda: any(e.type == "chat.done" and e.session == default_key("bob") for e in agent.events))
    hers = [str(request) for request in server.requests if "ALICESNAME" in str(request)]
    his = [str(request) for request in server.requests if "BOBSWISH" in str(request)]
    assert len(hers) == 4 and len(his) == 2
    assert not any("ALICES" in request for request in his) and not any("BOBS" in request for request in hers)

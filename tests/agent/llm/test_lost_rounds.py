"""What is paid for rounds that never came to their end: stopped, cut, failed, given up."""

import asyncio
from typing import Any

import pytest
from pydantic import SecretStr

from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.llm.tokens import estimate_messages, estimate_text, estimate_tools
from agent.ports.models import ModelFailed, ModelRequest
from agent.settings import ModelSettings
from bus.events import Usage
from tests.fakes.openai_server import OpenAIServer

TOOL = {"type": "function", "function": {"name": "look", "description": "looks", "parameters": {"type": "object"}}}
LONG = "tell me all of it, " * 40


def entry(server: OpenAIServer, name: str, **members: Any) -> ModelSettings:
    given = {"name": name, "base_url": server.url, "model": name, "api_key": SecretStr("k"), "first_token_seconds": 0.2,
             "stall_seconds": 0.2, "input_price": 1.0, "output_price": 10.0, **members}  # fmt: skip
    return ModelSettings(**given)


class Asked:
    """One request to a pool, what it said, and what it told of lost attempts."""

    def __init__(self, said: str, **members: Any) -> None:
        self.lost: list[tuple[str, Usage]] = []
        self.said: list[str] = []
        self.request = ModelRequest(
            messages=[{"role": "user", "content": said}], lost=lambda *one: self.lost.append(one), **members
        )

    @property
    def prompt(self) -> int:
        return estimate_messages(self.request.messages) + estimate_tools(self.request.tools)


@pytest.mark.parametrize(
    ("behaviour", "written"),
    [
        ("stalling", "It begins "),
        ("cut", "This will be cut"),
        ("truncated", "This ends too"),
        ("error-midstream", "Half "),
        ("brooding", "let me think, " * 10),
        ("cut-in-call", 'look{"where": "' + "far away " * 10),
    ],
)
async def test_a_round_that_broke_after_the_model_had_begun(behaviour: str, written: str) -> None:
    async with OpenAIServer() as server:
        pool = ModelPool([entry(server, "main")], DemoModel(0))
        asked = Asked(f"{LONG}\n!{behaviour}", tools=[TOOL])
        server.script = [{"match": "", "do": behaviour}]
        with pytest.raises(ModelFailed):
            await pool.stream(asked.request, asked.said.append)
        await pool.close()
    total = asked.prompt + estimate_text(written)
    cost = (asked.prompt * 1.0 + estimate_text(written) * 10.0) / 1e6
    one = Usage(prompt_tokens=asked.prompt, completion_tokens=estimate_text(written), total_tokens=total,
                cost=round(cost, 9), estimated_tokens=total)  # fmt: skip
    assert asked.lost == [("main", one)] * len(server.requests) and server.requests


@pytest.mark.parametrize(
    "behaviour", ["status 503", "rate-limited 60", "refused-key", "cut-early", "error-first", "html", "garbage", "deaf"]
)
async def test_what_no_model_began_costs_nothing(behaviour: str) -> None:
    async with OpenAIServer() as server:
        pool = ModelPool([entry(server, "main")], DemoModel(0))
        asked = Asked("hello")
        server.script = [{"match": "", "do": behaviour}]
        with pytest.raises(ModelFailed):
            await pool.stream(asked.request, asked.said.append)
        await pool.close()
    assert asked.lost == []


async def test_a_person_who_stops_pays_for_what_he_got() -> None:
    async with OpenAIServer() as server:
        pool = ModelPool([entry(server, "main", stall_seconds=30)], DemoModel(0))
        asked = Asked("!stalling")
        begun = asyncio.Event()

        def heard(text: str) -> None:
            asked.said.append(text)
            if len(asked.said) == 2:
                begun.set()

        task = asyncio.create_task(pool.stream(asked.request, heard))
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        await pool.close()
    [(name, usage)] = asked.lost
    assert name == "main" and usage.completion_tokens == estimate_text("It begins ")
    assert usage.estimated_tokens == usage.total_tokens == asked.prompt + usage.completion_tokens


async def test_each_attempt_of_a_failover_that_had_begun_is_told_with_its_own_price() -> None:
    async with OpenAIServer() as server:
        cheap, dear = entry(server, "cut-in-call"), entry(server, "echo", input_price=5.0)
        pool = ModelPool([cheap, dear], DemoModel(0))
        asked = Asked("hello")
        reply = await pool.stream(asked.request, asked.said.append)
        await pool.close()
    assert reply.text == "You said: hello" and reply.usage.estimated_tokens is None
    assert reply.usage.total_tokens == server.usage[0]["total_tokens"]
    [(name, usage)] = asked.lost
    assert name == "cut-in-call" and usage.estimated_tokens == usage.total_tokens > asked.prompt


async def test_a_count_that_came_before_the_cut_is_taken_as_it_is() -> None:
    async with OpenAIServer() as server:
        pool = ModelPool([entry(server, "main")], DemoModel(0))
        asked = Asked("!counting")
        with pytest.raises(ModelFailed):
            await pool.stream(asked.request, asked.said.append)
        await pool.close()
    [(_, usage)] = asked.lost
    assert usage == Usage(prompt_tokens=11, completion_tokens=3, total_tokens=14, cost=41e-6)


async def test_a_provider_that_never_counts_is_counted_by_us_and_it_is_said() -> None:
    async with OpenAIServer() as server:
        pool = ModelPool([entry(server, "main")], DemoModel(0))
        asked = Asked("!no-usage")
        reply = await pool.stream(asked.request, asked.said.append)
        await pool.close()
    assert reply.usage.estimated_tokens == reply.usage.total_tokens == asked.prompt + estimate_text("No usage given")

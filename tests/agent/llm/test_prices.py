"""Prices and estimates."""

import json
from datetime import date
from importlib import resources

import pytest

from agent.llm.prices import Price, bare_name, cost_of, price_of, usage_of
from agent.llm.tokens import estimate_messages, estimate_text, estimate_tools
from agent.settings import ModelSettings
from bus.events import Usage


def test_the_table_and_versions_of_a_model() -> None:
    assert price_of(ModelSettings(name="a", model="gpt-4o-mini")) == Price(0.15, 0.6, 0.075)
    assert price_of(ModelSettings(name="a", model="openai/gpt-4o-mini-2024-07-18")) == Price(0.15, 0.6, 0.075)
    assert price_of(ModelSettings(name="a", model="gpt-5-pro")) is None
    assert price_of(ModelSettings(name="a", model="llama3.2:latest")) is None
    assert bare_name("qwen-plus-latest") == "qwen-plus"
    assert bare_name("gpt-4-0613") == "gpt-4"


def test_the_configuration_wins() -> None:
    own = price_of(ModelSettings(name="a", model="gpt-4o-mini", input_price=1, output_price=2))
    assert own == Price(1, 2, 1)
    assert price_of(ModelSettings(name="a", model="mine", output_price=2, input_price=1, cached_price=0.1)) == Price(
        1, 2, 0.1
    )
    assert price_of(ModelSettings(name="a", model="gpt-4o-mini", output_price=9)) == Price(0.15, 9, 0.075)


def test_cost() -> None:
    usage = Usage(prompt_tokens=1_000_000, cached_tokens=400_000, completion_tokens=100_000)
    assert cost_of(usage, Price(1.0, 10.0, 0.5)) == pytest.approx(0.6 + 0.2 + 1.0)
    assert cost_of(usage, None) is None


def test_usage_as_providers_write_it() -> None:
    openai = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    assert usage_of(openai, [], "", None) == Usage(
        prompt_tokens=10, completion_tokens=5, cached_tokens=4, total_tokens=15
    )
    deepseek = {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 8}
    assert usage_of(deepseek, [], "", None).cached_tokens == 8
    assert usage_of(deepseek, [], "", None).total_tokens == 15
    hostile = {"prompt_tokens": -5, "completion_tokens": "many", "prompt_tokens_details": [], "total_tokens": 10**30}
    estimated = usage_of(hostile, [{"role": "user", "content": "x" * 400}], "y" * 40, Price(1, 1, 1))
    assert (estimated.prompt_tokens, estimated.completion_tokens) == (104, 10)
    assert estimated.cost == pytest.approx(114e-6)


def test_estimates_know_chinese() -> None:
    assert estimate_text("") == 0
    assert estimate_text("hello world, how are you?") == 7
    assert estimate_text("今天天气怎么样？") == 8
    assert estimate_text("привет мир") in range(4, 8)
    assert estimate_text("\ud800") > 0
    call = {"id": "a", "function": {"name": "clock", "arguments": '{"zone":"UTC"}'}}
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "abcd"}, {"type": "image_url", "image_url": {}}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
    ]
    assert estimate_messages(messages) == 4 + 1 + 1000 + 4 + 4 + 5
    assert estimate_tools([]) == 0
    assert estimate_tools([call]) > 5


def test_the_table_says_when_and_against_what_it_was_checked() -> None:
    table = json.loads(resources.files("agent.llm").joinpath("prices.json").read_text())
    assert date.fromisoformat(table["checked"])
    families = (*table["sources"], "o3", "o4")
    for name, (fresh, written, cached) in table["prices"].items():
        assert name == bare_name(name) and name.startswith(families), name
        assert 0 <= cached <= fresh < written, name

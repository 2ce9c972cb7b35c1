"""The demo model: everything that can be tried without a key."""

import asyncio
import time
from typing import Any

import pytest

from agent import prompts
from agent.llm.demo import DemoModel
from agent.modes.multi import parse_plan
from agent.ports.models import ModelReply, ModelRequest
from agent.tools.builtin.schedule_book import PROMPT_EN, PROMPT_ZH
from bus.events import JsonObject

TOOLS = [{"type": "function", "function": {"name": name}} for name in ("clock", "calculator", "fs_read_file")]


async def ask(
    *said: str, tools: list[Any] | None = None, messages: list[JsonObject] | None = None, **more: Any
) -> ModelReply:
    given: list[str] = []
    history = messages or [{"role": "user", "content": text} for text in said]
    request = ModelRequest(messages=history, tools=TOOLS if tools is None else tools, **more)
    reply = await DemoModel(0).stream(request, given.append)
    assert "".join(given) == reply.text
    assert reply.usage.prompt_tokens > 0
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
    return reply


async def test_about_itself_in_the_language_of_the_question() -> None:
    assert "demo model" in (await ask("Who are you?")).text
    assert "演示模型" in (await ask("你是谁？")).text
    assert "demo model" in (await ask("你好", "what can you do")).text


async def test_how_to_set_a_key() -> None:
    assert "export OPENAI_API_KEY" in (await ask("How do I set an API key?")).text
    assert "密钥" in (await ask("如何设置密钥？")).text


async def test_it_remembers_the_conversation() -> None:
    assert (await ask("my name is Ada", "hello", "what is my name?")).text == "Your name is Ada."
    assert (await ask("我叫小明", "我叫什么？")).text == "您叫小明。"
    told = (await ask("the password is blue", "and 7", "what did I say before?")).text
    assert "1. the password is blue" in told
    assert "2. and 7" in told
    assert "number 3" in (await ask("one", "two", "three")).text


async def test_it_repeats_exactly() -> None:
    assert (await ask("echo  two  spaces, 中文 and 😀")).text == "two  spaces, 中文 and 😀"
    assert "purple" in (await ask("purple")).text


@pytest.mark.parametrize("said", ["What time is it?", "what's the time", "现在几点？", "今天星期几"])
async def test_the_time_is_a_tool_call(said: str) -> None:
    reply = await ask(said)
    assert [(call.name, call.arguments) for call in reply.calls] == [("clock", "{}")]
    assert reply.finish_reason == "tool_calls"
    assert not (await ask(said, tools=[])).calls


async def test_tools_on_request() -> None:
    for said in (
        'use fs_read_file {"path": "a {b}"}',
        'Call tool fs_read_file {"path": "a {b}"}',
        '调用 fs_read_file {"path": "a {b}"}',
    ):
        (call,) = (await ask(said)).calls
        assert (call.name, call.arguments) == ("fs_read_file", '{"path": "a {b}"}')
    two = (await ask('use clock\nuse calculator {"expression": "1"}')).calls
    assert [call.name for call in two] == ["clock", "calculator"]
    assert len({call.call_id for call in two}) == 2
    assert "no tool named `rm`" in (await ask("use rm {}")).text
    assert not (await ask("Use the force, Luke")).calls
    assert (await ask("what is 2 + 3 * 4?")).calls[0].arguments == '{"expression": "2 + 3 * 4"}'


async def test_broken_arguments_are_passed_on_as_they_are() -> None:
    assert (await ask('use clock {"zone": }')).calls[0].arguments == '{"zone": }'


@pytest.mark.parametrize(
    ("said", "expected"),
    [("use clock {}", "The tool `clock` says: noon"), ("调用 clock {}", "工具 `clock` 的结果：noon")],
)
async def test_it_tells_what_the_tool_gave(said: str, expected: str) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "clock", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": said},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "a", "content": "noon"},
    ]
    assert (await ask(messages=messages)).text == expected


async def test_it_plays_its_part_in_the_modes() -> None:
    fast = {"role": "system", "content": prompts.FAST}
    for said in ("What time is it?", "use clock {}", "现在几点", "what is 2+2?"):
        assert (await ask(messages=[fast, {"role": "user", "content": said}], tools=[])).text == "HANDOVER"
    assert "HANDOVER" not in (await ask(messages=[fast, {"role": "user", "content": "hello"}], tools=[])).text
    planner = {"role": "system", "content": prompts.PLANNER % (5, "clock, calculator")}
    plan = await ask(messages=[planner, {"role": "user", "content": "count to 3 and say hello; what time is it"}])
    assert [part.task for part in parse_plan(plan.text)] == ["count to 3 and say hello", "what time is it"]
    assert len(parse_plan((await ask(messages=[planner, {"role": "user", "content": "hello"}])).text)) == 1
    findings = {"role": "user", "content": "Results of the parts:\n\n## a\n1 2 3"}
    whole = (await ask(messages=[{"role": "system", "content": prompts.SYNTHESIS}, findings])).text
    assert whole == "Here is what the parts came to:\n\n## a\n1 2 3"


async def test_scheduled_tasks_are_done_or_told() -> None:
    assert (await ask(PROMPT_EN + "drink tea")).text == "Reminder: drink tea"
    assert (await ask(PROMPT_ZH + "喝茶")).text == "提醒：喝茶"
    assert (await ask(PROMPT_EN + "what time is it?")).calls[0].name == "clock"
    assert (await ask(PROMPT_EN + "count to 3")).text == "1 2 3"


async def test_tool_choice() -> None:
    assert not (await ask("use clock {}", parameters={"tool_choice": "none"})).calls
    forced = {"tool_choice": {"type": "function", "function": {"name": "clock"}}}
    assert (await ask("hello", parameters=forced)).calls[0].name == "clock"


async def test_long_answers_and_their_limit() -> None:
    assert (await ask("Count to 200")).text.split() == [str(n) for n in range(1, 201)]
    assert (await ask("数到5")).text == "1 2 3 4 5"
    assert len((await ask("tell me a long story")).text) > 5_000
    assert len((await ask("讲一个很长的故事")).text) > 1_000
    cut = await ask("count to 200", parameters={"max_tokens": 3})
    assert (cut.text, cut.finish_reason) == ("1 2 3", "length")


async def test_it_paces_itself_and_stops_when_cancelled() -> None:
    given: list[str] = []
    request = ModelRequest(messages=[{"role": "user", "content": "count to 1000"}])
    task = asyncio.create_task(DemoModel(0.005).stream(request, given.append))
    await asyncio.sleep(0.1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert 2 <= len(given) <= 22


async def test_pictures_are_counted_and_empty_messages_answered() -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    assert "1 pictures" in (await ask(messages=[{"role": "user", "content": parts}])).text
    assert (await ask("")).text
    assert (await DemoModel(0).stream(ModelRequest(messages=[]), lambda _: None)).text


@pytest.mark.quiet
async def test_no_text_keeps_the_rules_busy() -> None:
    for hostile in ("1" * 100_000, "\n" * 100_000, "use " * 30_000, "use a {" * 20_000, "(" * 100_000, " \t" * 60_000):
        started = time.monotonic()
        await ask(hostile)
        await ask(hostile[:19_000])
        assert time.monotonic() - started < 1

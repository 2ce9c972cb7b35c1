"""What a scripted OpenAI-compatible server does with tools, one function per failure. Beside `openai_behaviours.py`."""

import asyncio
import json

from tests.fakes.openai_behaviours import Line, behaviour, echo, say


@behaviour
async def tool(line: Line, option: str) -> None:
    """`tool NAME {json}`: call it, then tell the result."""
    if line.last.get("role") == "tool":
        await echo(line, "")
        return
    name, _, arguments = option.partition(" ")
    await line.calls([{"name": name, "arguments": arguments or "{}"}])
    await line.end("tool_calls")


@behaviour
async def tool_without_index(line: Line, option: str) -> None:
    line.index = False
    await tool(line, option)


@behaviour
async def tool_loop(line: Line, option: str) -> None:
    """The same call for ever."""
    name, _, arguments = (option or "clock {}").partition(" ")
    await line.calls([{"name": name, "arguments": arguments or "{}", "id": f"call_{len(line.body['messages'])}"}])
    await line.end("tool_calls")


@behaviour
async def ping_pong(line: Line, option: str) -> None:
    """Two tools in turn for ever (`ping-pong clock calculator`)."""
    names = option.split() or ["clock", "calculator"]
    turn = len(line.body["messages"])
    arguments = json.dumps({"expression": f"{turn} + 1"}) if names[turn // 2 % 2] == "calculator" else "{}"
    await line.calls([{"name": names[turn // 2 % 2], "arguments": arguments, "id": f"call_{turn}"}])
    await line.end("tool_calls")


@behaviour
async def many_calls(line: Line, option: str) -> None:
    """`many-calls 1000 clock`"""
    if line.last.get("role") == "tool":
        await say(line, "enough")
        return
    count, name = ([*option.split(), "1000", "clock"])[:2] if len(option.split()) > 1 else ("1000", "clock")
    await line.calls([{"name": name, "arguments": "{}", "id": f"many_{number}"} for number in range(int(count))])
    await line.end("tool_calls")


@behaviour
async def same_ids(line: Line, option: str) -> None:
    """Two calls under one id."""
    if line.last.get("role") == "tool":
        await say(line, "both done")
        return
    await line.calls([{"name": option or "clock", "arguments": "{}", "id": "same"} for _ in range(2)])
    await line.end("tool_calls")


@behaviour
async def broken_arguments(line: Line, option: str) -> None:
    """Arguments that are not JSON, for ever."""
    await line.calls([{"name": option or "clock", "arguments": '{"zone": "UT', "id": f"c{len(line.body['messages'])}"}])
    await line.end("tool_calls")


@behaviour
async def huge_arguments(line: Line, option: str) -> None:
    """Arguments of 5 MB."""
    if line.last.get("role") == "tool":
        await say(line, "never mind")
        return
    await line.calls([{"name": option or "clock", "arguments": json.dumps({"zone": "x" * 5_000_000})}], 100_000)
    await line.end("tool_calls")


@behaviour
async def cut_in_call(line: Line, option: str) -> None:
    """The connection goes in the middle of a call's arguments; no text was said."""
    await line.calls([{"name": "look", "arguments": '{"where": "' + "far away " * 10}])
    await asyncio.sleep(0.01)
    line.cut()

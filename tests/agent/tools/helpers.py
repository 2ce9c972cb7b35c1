"""Calls and actors for the tests of tools."""

from typing import Any

from agent.ports.tools import ToolCall, ToolResult
from agent.tools.registry import Builtin, BuiltinTools
from bus.deadline import Deadline
from bus.events import Actor

ALICE, BOB = Actor(user="alice"), Actor(user="bob")


def a_call(name: str, actor: Actor = ALICE, **arguments: Any) -> ToolCall:
    return ToolCall(call_id="c1", name=name, arguments=arguments, actor=actor, idempotency_key="k1")


async def use(tool: Builtin, actor: Actor = ALICE, seconds: float = 30, **arguments: Any) -> ToolResult:
    """Call a built-in tool as the house does, its arguments checked."""
    call = a_call(tool.spec.name, actor, **arguments)
    return await BuiltinTools([tool]).call(call, deadline=Deadline(seconds), report=lambda _: None)


def text(result: ToolResult) -> str:
    return str(result.content[0]["text"])

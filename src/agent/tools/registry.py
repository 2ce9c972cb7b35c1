"""The built-in tools as a `ToolSource`.

Above it the guard in `gateway/tools`; below it the modules of `builtin`. A built-in tool is a spec and a function;
it sees the call (with its actor) and its deadline, and gives back text, an object, or a whole result.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeAlias

import orjson

from agent.ports.tools import Report, ToolCall, ToolResult, ToolSpec
from agent.tools.results import problem
from agent.tools.schema import BadArguments, check
from bus.deadline import Deadline
from bus.errors import NotFound
from bus.events import Actor, JsonObject
from bus.keys import SessionKey

Given: TypeAlias = str | JsonObject | ToolResult


class ToolProblem(Exception):
    """A tool could not do what it was asked; the text helps the model. Nothing has happened."""


class Builtin(Protocol):
    """One built-in tool."""

    @property
    def spec(self) -> ToolSpec: ...

    async def run(self, call: ToolCall, deadline: Deadline) -> Given:
        """Do it. Raises ToolProblem, or GatewayError with its effect."""
        ...


class BuiltinTools:
    """Implements `ToolSource`. Everybody sees the same tools; what they hold belongs to each person."""

    def __init__(self, tools: Iterable[Builtin]) -> None:
        self._tools = {tool.spec.name: tool for tool in tools}

    async def list_tools(self, actor: Actor, session: SessionKey | None = None) -> Sequence[ToolSpec]:
        """All of them, whether available or not, the same in every session."""
        return [tool.spec for tool in self._tools.values()]

    def find_tool(self, actor: Actor, name: str) -> ToolSpec | None:
        """One tool, without listing all."""
        tool = self._tools.get(name)
        return None if tool is None else tool.spec

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        """Run one. Raises NotFound for an unknown name."""
        tool = self._tools.get(call.name)
        if tool is None:
            raise NotFound(f"there is no tool named {call.name[:64]}")
        try:
            check(tool.spec.input_schema, call.arguments)
            given = await tool.run(call, deadline)
        except (BadArguments, ToolProblem) as error:
            return problem(str(error))
        return as_result(given)


def as_result(given: Given) -> ToolResult:
    """Text and objects in the form of a result; an object is its own structured content."""
    if isinstance(given, ToolResult):
        return given
    if isinstance(given, str):
        return ToolResult(content=({"type": "text", "text": given},))
    text = orjson.dumps(given, option=orjson.OPT_INDENT_2).decode()
    return ToolResult(content=({"type": "text", "text": text},), structured_content=given)

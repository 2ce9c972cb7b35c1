"""A program brings tools of its own, beside those of the house."""

from pathlib import Path
from typing import Any

from bus.events import TurnOptions
from tests.agent.harness import Agent, Tools, running
from tests.fakes.models import ScriptedModel


def brought(*names: str) -> TurnOptions:
    return TurnOptions(tools=tuple({"type": "function", "function": {"name": name}} for name in names))


async def test_only_its_own_calls_are_handed_back(tmp_path: Path) -> None:
    tools = Tools()
    tools.add("look", lambda call: "seen", read_only=True)
    model = ScriptedModel(("", [("c1", "look", "{}"), ("c2", "weather", "{}"), ("c3", "no_such", "{}")]))
    async with running(Agent(tmp_path, model, tools)) as agent:
        done = await agent.ask("go", options=brought("weather"))
        assert done.finish_reason == "tool_calls"
        assert [call["function"]["name"] for call in done.tool_calls] == ["weather"]
        assert not tools.calls


async def test_of_two_tools_with_one_name_the_programs_is_meant(tmp_path: Path) -> None:
    tools = Tools()
    tools.add("look", lambda call: "seen", read_only=True)
    tools.add("other", lambda call: "seen", read_only=True)
    model = ScriptedModel(("", [("c1", "look", "{}")]))
    async with running(Agent(tmp_path, model, tools)) as agent:
        done: Any = await agent.ask("go", options=brought("look"))
        assert [tool["function"]["name"] for tool in model.requests[0].tools] == ["other", "look"]
        assert [call["function"]["name"] for call in done.tool_calls] == ["look"]
        assert not tools.calls

"""What a session is told after a restart is what it would have been told without one."""

from pathlib import Path

from tests.agent.harness import Agent, Tools, running
from tests.fakes.models import ScriptedModel

PLAN = '{"parts": [{"title": "one", "task": "a"}, {"title": "two", "task": "b"}]}'
CALLS = [(f"c{number}", "look", f'{{"n": {number}}}') for number in range(12)]


async def test_what_sub_agents_called_pushes_nothing_out_of_the_window(tmp_path: Path) -> None:
    tools = Tools()
    tools.add("look", lambda call: "seen", read_only=True)
    few = {"window_messages": 20}
    async with running(Agent(tmp_path, ScriptedModel("hello"), tools, settings=few)) as agent:
        await agent.ask("first")
    at_work = ScriptedModel(PLAN, ("", CALLS), ("", CALLS), "a", "b", "done")
    async with running(Agent(tmp_path, at_work, tools, settings=few | {"mode": "multi"})) as agent:
        assert (await agent.ask("second")).text == "done"
    model = ScriptedModel("!")
    async with running(Agent(tmp_path, model, tools, settings=few)) as agent:
        await agent.ask("third")
        said = [one["content"] for one in model.requests[0].messages if one["role"] == "user"]
        assert said == ["first", "second", "third"]

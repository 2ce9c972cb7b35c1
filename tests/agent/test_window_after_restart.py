"""What a session is told after a restart is what it would have been told without one, however long its turns were."""

from pathlib import Path

import pytest

from tests.agent.harness import Agent, Tools, running
from tests.fakes.models import ScriptedModel

PLAN = '{"parts": [{"title": "one", "task": "a"}, {"title": "two", "task": "b"}]}'
CALLS = [(f"c{number}", "look", f'{{"n": {number}}}') for number in range(30)]


@pytest.mark.parametrize(("mode", "held"), [("single", ["second", "third"]), ("multi", ["first", "second", "third"])])
async def test_a_turn_of_many_calls_hides_nothing(tmp_path: Path, mode: str, held: list[str]) -> None:
    """The turn itself stays in any case; what sub-agents called takes no room."""
    tools = Tools()
    tools.add("look", lambda call: "seen", read_only=True)
    script = {"single": [("", CALLS), "done"], "multi": [PLAN, ("", CALLS), ("", CALLS), "a", "b", "done"]}
    settings = {"window_messages": 20}
    async with running(Agent(tmp_path, ScriptedModel("hello"), tools, settings=settings)) as agent:
        await agent.ask("first")
    settings_of_mode = settings | {"mode": mode}
    async with running(Agent(tmp_path, ScriptedModel(*script[mode]), tools, settings=settings_of_mode)) as agent:
        assert (await agent.ask("second")).text == "done"
    model = ScriptedModel("!")
    async with running(Agent(tmp_path, model, tools, settings=settings)) as agent:
        await agent.ask("third")
        assert [said["content"] for said in model.requests[0].messages if said["role"] == "user"] == held

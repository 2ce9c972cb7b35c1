"""Named agents, bindings, personas and skills."""

from pathlib import Path

import pytest

from agent.agents import Agents, route, tools_of
from agent.persona import Personas
from agent.ports.tools import ToolSpec
from agent.settings import AgentProfile, Binding
from agent.tools.builtin.skill import Skills
from bus.errors import NotFound
from bus.events import Actor
from bus.keys import SessionKey
from tests.agent.harness import Agent, running
from tests.fakes.models import EchoModel

BINDINGS = [
    Binding(agent="shop", channel="telegram"),
    Binding(agent="desk", channel="telegram", account="7"),
    Binding(agent="team", channel="telegram", group="-100"),
    Binding(agent="boss", channel="telegram", peer="42"),
    Binding(agent="late", channel="telegram"),
]


@pytest.mark.parametrize(
    ("place", "agent"),
    [
        ({"channel": "telegram"}, "shop"),
        ({"channel": "telegram", "account": "7"}, "desk"),
        ({"channel": "telegram", "account": "7", "group": "-100"}, "team"),
        ({"channel": "telegram", "account": "7", "group": "-100", "peer": "42"}, "boss"),
        ({"channel": "discord", "peer": "42"}, "main"),
    ],
)
def test_the_most_specific_binding_wins_and_says_so(place: dict[str, str], agent: str) -> None:
    found = route(BINDINGS, **place)
    assert found.agent_id == agent and found.reason


def test_an_agent_has_its_tools() -> None:
    specs = [ToolSpec(name=name, description="", input_schema={}) for name in ("fs_read", "fs_write", "clock")]
    assert [s.name for s in tools_of(AgentProfile(tools=["fs_*"]), specs)] == ["fs_read", "fs_write"]
    assert tools_of(AgentProfile(), specs) == specs


async def test_personas_are_read_again_and_stay_apart(tmp_path: Path) -> None:
    personas = Personas(tmp_path, look_seconds=0)
    alice, bob = Actor(user="alice"), Actor(user="bob")
    assert await personas.text("main", alice) == ""
    for folder, text in (("agents/main", "You are Ada."), ("users/alice", "Call me A.")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "AGENTS.md").write_text(text)
    assert "You are Ada." in await personas.text("main", alice)
    assert "Call me A." in await personas.text("main", alice)
    assert "Call me A." not in await personas.text("main", bob)
    (tmp_path / "agents/main/AGENTS.md").write_text("You are Bea, and longer.")
    assert "Bea" in await personas.text("main", bob)
    assert await personas.text("..", Actor(user="..")) == ""


async def test_skills_are_named_and_read_on_demand(tmp_path: Path) -> None:
    (tmp_path / "skills/tea").mkdir(parents=True)
    (tmp_path / "skills/tea/SKILL.md").write_text("---\nname: tea\ndescription: How to make tea\n---\n# Tea\nBoil.")
    personas = Personas(tmp_path)
    assert "- tea: How to make tea" in await personas.text("main", Actor(user="a"))
    assert "Boil." in await personas.skill("tea")
    with pytest.raises(NotFound):
        await personas.skill("../tea")


async def test_a_session_of_another_agent_has_its_prompt(tmp_path: Path) -> None:
    model = EchoModel()
    agent = Agent(tmp_path, model)
    agent.agents = Agents({"poet": AgentProfile(system_prompt="You rhyme.")}, [])
    async with running(agent):
        await agent.ask("hello", key=SessionKey("agent:poet:websocket:direct:alice"))
        await agent.ask("hello")
    assert [request.messages[0]["content"][:9] for request in model.requests] == ["You rhyme", "You are t"]


async def test_a_persona_that_cannot_be_read_costs_its_words_and_no_turn(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "agents/main").mkdir(parents=True)
    (tmp_path / "mine.md").write_text("You are Ada.")
    (tmp_path / "agents/main/AGENTS.md").symlink_to(tmp_path / "mine.md")
    (tmp_path / "users/alice/AGENTS.md").mkdir(parents=True)
    personas = Personas(tmp_path, look_seconds=0)
    for _ in range(3):
        assert await personas.text("main", Actor(user="alice")) == ""
    assert len([one for one in caplog.records if "cannot be read" in one.getMessage()]) == 2


async def test_a_skill_laid_down_while_the_house_runs_can_be_read(tmp_path: Path) -> None:
    personas, alice = Personas(tmp_path, look_seconds=0), Actor(user="alice")
    skills = Skills(personas)
    assert list(await skills.list_tools(alice)) == [] and skills.find_tool(alice, "skill") is None
    (tmp_path / "skills/tea").mkdir(parents=True)
    (tmp_path / "skills/tea/SKILL.md").write_text("Boil.")
    assert "tea" in await personas.text("main", alice)
    assert [spec.name for spec in await skills.list_tools(alice)] == ["skill"]
    assert skills.find_tool(alice, "skill") is not None
    (tmp_path / "skills/tea/SKILL.md").unlink()
    assert list(await skills.list_tools(alice)) == []


async def test_what_a_person_wanted_is_forgotten_in_memory_too(tmp_path: Path) -> None:
    personas = Personas(tmp_path, look_seconds=0)
    for way in ("forgotten", "taken away by hand"):
        file = tmp_path / "users/alice/AGENTS.md"
        file.parent.mkdir(parents=True)
        file.write_text("Call me A.")
        assert "Call me A." in await personas.text("main", Actor(user="alice"))
        if way == "forgotten":
            personas.forget("alice")
        else:
            file.unlink()
            assert await personas.text("main", Actor(user="alice")) == ""
            file.parent.rmdir()
        assert not personas._kept

"""`skill`: reads one of the skills that the operator laid down as folders. Only there where there are some."""

from collections.abc import Sequence

from agent.persona import Personas
from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.registry import BuiltinTools, ToolProblem
from bus.deadline import Deadline
from bus.errors import NotFound
from bus.events import Actor
from bus.keys import SessionKey


class SkillTool:
    """Gives the text of a SKILL.md."""

    spec = ToolSpec(
        name="skill",
        description="Read a skill by its name, before doing what it is for.",
        input_schema={
            "type": "object",
            "properties": {"name": {"type": "string", "maxLength": 100}},
            "required": ["name"],
            "additionalProperties": False,
        },
        read_only=True,
        idempotent=True,
    )

    def __init__(self, personas: Personas) -> None:
        self._personas = personas

    async def run(self, call: ToolCall, deadline: Deadline) -> str:
        """Raises ToolProblem for a name that isn't there."""
        try:
            return await self._personas.skill(str(call.arguments["name"]))
        except NotFound as error:
            raise ToolProblem(error.message) from None


class Skills(BuiltinTools):
    """A `ToolSource` of that tool: it comes and goes with the skills, which may be laid down while the house runs."""

    def __init__(self, personas: Personas) -> None:
        super().__init__([SkillTool(personas)])
        self._personas = personas

    async def list_tools(self, actor: Actor, session: SessionKey | None = None) -> Sequence[ToolSpec]:
        return await super().list_tools(actor, session) if self._personas.has_skills() else ()

    def find_tool(self, actor: Actor, name: str) -> ToolSpec | None:
        return super().find_tool(actor, name) if self._personas.has_skills() else None

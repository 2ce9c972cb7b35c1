"""`skill`: reads one of the skills that the operator laid down as folders. Only there where there are some."""

from agent.persona import Personas
from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.registry import ToolProblem
from bus.deadline import Deadline
from bus.errors import NotFound


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

"""`memory`: what the assistant keeps of a person from one conversation to the next.

Below it `memory_book.py`. It acts for the actor of the call alone: in a group that is the speaker.
"""

import asyncio

from agent.ports.tools import ToolCall, ToolSpec
from agent.tools.builtin.memory_book import Full, Memory, MemoryBook
from agent.tools.registry import ToolProblem
from bus.deadline import Deadline
from bus.events import JsonObject


class MemoryTool:
    """Remembers, recalls, lists and forgets."""

    spec = ToolSpec(
        name="memory",
        description=(
            "Long-term memory of this person, private to them. remember: keep a fact (text). recall: search (query). "
            "list: everything. forget: by id. Remember what will matter in later conversations, nothing secret."
        ),
        input_schema={
            "type": "object",
            "properties": {
                "action": {"enum": ["remember", "recall", "list", "forget"]},
                "text": {"type": "string", "maxLength": 2000},
                "query": {"type": "string", "maxLength": 500},
                "id": {"type": "string", "maxLength": 64},
            },
            "required": ["action"],
            "additionalProperties": False,
        },
        idempotent=True,
    )

    def __init__(self, book: MemoryBook) -> None:
        self._book = book

    async def run(self, call: ToolCall, deadline: Deadline) -> JsonObject:
        """Raises ToolProblem where an argument is missing, or there is no room."""
        user, given = call.actor.user, call.arguments
        match given["action"]:
            case "remember":
                text = _needed(given, "text")
                try:
                    memory = await asyncio.to_thread(self._book.remember, user, text)
                except Full as full:
                    raise ToolProblem(f"Not remembered: {full}.") from None
                return {"remembered": _shown(memory)}
            case "recall":
                found = await asyncio.to_thread(self._book.recall, user, _needed(given, "query"))
                return {"memories": [_shown(memory) for memory in found]}
            case "forget":
                if not await asyncio.to_thread(self._book.forget, user, _needed(given, "id")):
                    raise ToolProblem("There is no memory with this id; list shows the ids.")
                return {"forgotten": given["id"]}
        every = await asyncio.to_thread(self._book.all, user)
        return {"memories": [_shown(memory) for memory in every[-200:]], "count": len(every)}


def _needed(given: JsonObject, name: str) -> str:
    text = str(given.get(name) or "").strip()
    if not text:
        raise ToolProblem(f"{given['action']} needs “{name}”.")
    return text


def _shown(memory: Memory) -> JsonObject:
    return {"id": memory.memory_id, "text": memory.text, "at": memory.at}

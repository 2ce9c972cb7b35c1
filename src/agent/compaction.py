"""Tells the older part of a talk in short, with the cheapest model, off the reply path.

`summaries.py` says what and when, and records the result; a failure costs nothing but the
older messages' being forgotten when they leave the window.
"""

import logging

from agent import prompts
from agent.ports.models import LanguageModel, ModelFailed, ModelRequest
from agent.ports.people import Accountant, Charge
from bus.context import new_id
from bus.events import Actor, JsonObject, Usage

log = logging.getLogger("agent.compaction")

MESSAGE_CHARS = 4_000
MAX_CHARS = 4_000


class Compactor:
    """`await compactor(messages, user)` gives the summary, or ''."""

    def __init__(self, model: LanguageModel, accountant: Accountant | None = None) -> None:
        self._model = model
        self._accountant = accountant

    async def __call__(self, messages: list[JsonObject], user: str) -> str:
        if all(entry.get("name") == "demo" for entry in self._model.describe()):
            return ""
        charges: list[Charge] = []
        number = new_id("sum")

        def spent(name: str, usage: Usage) -> None:
            charges.append(Charge(actor=Actor(user=user), message_id=number, attempt=len(charges) + 1,
                                  model=name or "model", usage=usage, tool_calls=0))  # fmt: skip

        request = ModelRequest(
            messages=[
                {"role": "system", "content": prompts.SUMMARY},
                {"role": "user", "content": "\n\n".join(_told(message) for message in messages)},
            ],
            user=user,
            tier=0,
            lost=spent,
        )
        try:
            reply = await self._model.stream(request, _unseen)
            spent(reply.model, reply.usage)
        except ModelFailed as failed:
            log.info("no summary: %s", failed.kind or failed.code)
            return ""
        finally:
            if self._accountant is not None and charges:
                await self._accountant.charge(charges)
        return reply.text.strip()[:MAX_CHARS]


def _told(message: JsonObject) -> str:
    """A message as one paragraph; a call with its name and arguments."""
    content = message.get("content")
    text = content if isinstance(content, str) else ""
    for call in message.get("tool_calls") or ():
        text += f"\n(called {call['function']['name']} {call['function']['arguments'][:500]})"
    return f"{message['role']}: {text.strip()[:MESSAGE_CHARS]}"


def _unseen(text: str) -> None:
    """A summary is never the answer."""

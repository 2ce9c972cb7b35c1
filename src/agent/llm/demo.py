"""The model that is always there: no key, no network. It streams what `demo_answers.py` says.

Used where no model is configured. Everything but thinking can be tried with it.
"""

import asyncio
import re
from collections.abc import Callable, Sequence

from agent.llm.demo_answers import Answer, answer
from agent.llm.tokens import estimate_messages, estimate_text
from agent.ports.models import ModelReply, ModelRequest, RequestedCall
from bus.context import new_id
from bus.events import JsonObject, Usage

_PIECES = re.compile(r"[\u3000-\u9fff\uff00-\uffef]{1,2}|\s*[^\s\u3000-\u9fff\uff00-\uffef]+|\s+")


class DemoModel:
    """Implements `LanguageModel`. `pace_seconds` lie between two words; 0 is as fast as the loop allows."""

    def __init__(self, pace_seconds: float = 0.012) -> None:
        self._pace = pace_seconds

    async def stream(self, request: ModelRequest, on_delta: Callable[[str], None]) -> ModelReply:
        """Answer by rule. Never fails."""
        names = frozenset(str((tool.get("function") or {}).get("name")) for tool in request.tools)
        found = self._forced(request, names) or answer(request.messages, _usable(request, names))
        given: list[str] = []
        most = request.parameters.get("max_completion_tokens") or request.parameters.get("max_tokens")
        finish = "tool_calls" if found.calls else "stop"
        for number, piece in enumerate(_PIECES.findall(found.text)):
            if isinstance(most, int) and number >= most:
                finish = "length"
                break
            given.append(piece)
            on_delta(piece)
            await asyncio.sleep(self._pace)
        calls = tuple(RequestedCall(call_id=new_id("call"), name=name, arguments=text) for name, text in found.calls)
        return ModelReply(
            text="".join(given), finish_reason=finish, calls=calls, usage=_usage(request, given, calls), model="demo"
        )

    @staticmethod
    def _forced(request: ModelRequest, names: frozenset[str]) -> Answer | None:
        """`tool_choice` that names a tool, unless it has been called already."""
        choice = request.parameters.get("tool_choice")
        if not isinstance(choice, dict) or (request.messages and request.messages[-1].get("role") == "tool"):
            return None
        name = (choice.get("function") or {}).get("name")
        return Answer(calls=((str(name), "{}"),)) if name in names else None

    def describe(self) -> Sequence[JsonObject]:
        """One entry, always ready."""
        return [{"name": "demo", "model": "demo", "tier": 0, "vision": False, "tools": True, "state": "ready"}]

    def estimate(self, name: str, messages: Sequence[JsonObject]) -> Usage:
        """It costs nothing, finished or not."""
        return Usage()

    async def close(self) -> None:
        """Nothing is open."""


def _usable(request: ModelRequest, names: frozenset[str]) -> frozenset[str]:
    return frozenset() if request.parameters.get("tool_choice") == "none" else names


def _usage(request: ModelRequest, given: Sequence[str], calls: Sequence[RequestedCall]) -> Usage:
    prompt = estimate_messages(request.messages)
    completion = estimate_text("".join(given)) + sum(estimate_text(call.name + call.arguments) for call in calls)
    return Usage(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion, cost=0.0)

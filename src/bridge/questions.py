"""Elicitations: what an MCP server asks the person in the middle of a call, carried to the chat and back."""

import asyncio
import secrets
import time
from collections.abc import Callable

from bridge.ports import JsonObject

ACTIONS = frozenset({"accept", "decline", "cancel"})


class Questions:
    """Open questions of one bridge. `seconds` gives how long a person has."""

    def __init__(self, seconds: Callable[[], float]) -> None:
        self._seconds = seconds
        self._open: dict[str, tuple[JsonObject, asyncio.Future[JsonObject], float]] = {}

    async def ask(self, question: JsonObject, announce: Callable[[JsonObject], None]) -> JsonObject:
        """The person's `{"action", "content"?}`; silence is `cancel`."""
        question_id = "q" + secrets.token_hex(12)
        payload = {
            "state": "awaiting_input", "question_id": question_id,
            "message": str(question.get("message", "")), "schema": question.get("schema") or {},
        }  # fmt: skip
        future: asyncio.Future[JsonObject] = asyncio.get_running_loop().create_future()
        seconds = self._seconds()
        self._open[question_id] = (payload, future, time.monotonic() + seconds)
        try:
            announce({**payload, "expires_in_ms": int(seconds * 1000)})
            done, _ = await asyncio.wait({future}, timeout=seconds)
            return future.result() if done else {"action": "cancel"}
        finally:
            del self._open[question_id]

    def answer(self, answer: JsonObject) -> bool:
        """`ctl.answer` came: `{"question_id", "action", "content"?}`. False where nothing waits for it."""
        question_id, action = answer.get("question_id"), answer.get("action")
        found = self._open.get(question_id) if isinstance(question_id, str) else None
        if found is None or action not in ACTIONS:
            return False
        _, future, _ = found
        if not future.done():
            content = answer.get("content")
            future.set_result({"action": action, "content": content} if content is not None else {"action": action})
        return True

    def repeat(self, question_id: str) -> JsonObject | None:
        """The `PROGRESS` of an open question, for a gateway that comes back."""
        found = self._open.get(question_id)
        if found is None:
            return None
        payload, _, until = found
        return {**payload, "expires_in_ms": max(0, int((until - time.monotonic()) * 1000))}

"""What became of people's own calls under an idempotency key: on disk, so that a restart makes none of them twice.

Above is `handlers/tools.py`; below the file of the desk's store. A key is written down before its call may be made
and again with its answer; one that was under way when the house went down has an unknown outcome, for ever. Calls
that may be repeated anyway are not written down. Keys are kept for a day, as those of messages are.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from typing import Literal

import orjson

from bus.errors import GatewayError, OutcomeUnknown, Unsignable, from_code
from bus.events import JsonObject
from gateway.json_text import dumps
from gateway.tools.store import Store

KEPT_SECONDS = 86_400.0
MAX_ANSWER_BYTES = 1024 * 1024
"""Of a larger answer only is kept that there was one."""
_OLD = "DELETE FROM calls WHERE at < ?"
State = Literal["running", "done", "failed", "too_large"]


def content_of(name: str, arguments: JsonObject) -> str:
    """What a key stands for. Raises Unsignable for arguments that the guard would refuse as well."""
    try:
        return hashlib.sha256(orjson.dumps([name, arguments], option=orjson.OPT_SORT_KEYS)).hexdigest()
    except TypeError as error:
        raise Unsignable("an integer beyond 2^53 - 1 would not arrive as it is: send it as a text") from error


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a key. `answer` is the result, or the error as `[code, message, effect]`."""

    content: str
    state: State
    answer: bytes | None

    def outcome(self) -> JsonObject:
        """The result. Raises the error, or OutcomeUnknown where it was never written down."""
        if self.state == "done" and self.answer is not None:
            found: JsonObject = json.loads(self.answer)
            return found
        if self.state == "failed" and self.answer is not None:
            code, message, effect = orjson.loads(self.answer)
            raise from_code(code, message, effect=effect)
        if self.state == "too_large":
            raise OutcomeUnknown("this call was made; its answer was too large to be kept", effect="done")
        raise OutcomeUnknown("this call was under way when the gateway was restarted, or its caller left")


class KeptCalls:
    """Keys by user."""

    def __init__(self, store: Store) -> None:
        self._store = store
        store.write(_OLD, (time.time() - KEPT_SECONDS,))

    async def sweep(self) -> None:
        """Take away the keys whose day is over, with their answers. Raises Overloaded."""
        await self._store.put(_OLD, (time.time() - KEPT_SECONDS,))

    def find(self, user: str, key: str) -> Kept | None:
        """What is known of a key, or None."""
        rows = self._store.read(
            "SELECT content, state, answer FROM calls WHERE user = ? AND key = ? AND at >= ?",
            (user, key, time.time() - KEPT_SECONDS),
        )
        return Kept(*rows[0]) if rows else None

    async def begin(self, user: str, key: str, content: str) -> None:
        """Before the call is made. Raises Overloaded where the disk refuses: then it must not be made."""
        await self._put(user, key, content, "running", None)

    async def done(self, user: str, key: str, content: str, answer: JsonObject) -> None:
        """Its result."""
        data = dumps(answer)  # a server's numbers and characters may be such as orjson refuses
        if len(data) <= MAX_ANSWER_BYTES:
            await self._put(user, key, content, "done", data)
        else:
            await self._put(user, key, content, "too_large", None)

    async def failed(self, user: str, key: str, content: str, error: GatewayError) -> None:
        """It may have had an effect; what is sure to have had none is forgotten."""
        if error.effect == "none":
            await self.forget(user, key)
        else:
            await self._put(user, key, content, "failed", orjson.dumps([error.code, error.message, error.effect]))

    async def forget(self, user: str, key: str) -> None:
        """It was not made: the key may be used again."""
        await self._store.put("DELETE FROM calls WHERE user = ? AND key = ?", (user, key))

    async def forget_user(self, user: str) -> None:
        """All of one user's keys."""
        await self._store.put("DELETE FROM calls WHERE user = ?", (user,))

    async def _put(self, user: str, key: str, content: str, state: State, answer: bytes | None) -> None:
        await self._store.put(
            "INSERT OR REPLACE INTO calls VALUES (?, ?, ?, ?, ?, ?)", (user, key, content, state, answer, time.time())
        )

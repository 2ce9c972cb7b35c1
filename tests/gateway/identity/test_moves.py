"""An account that changes hands takes its conversations along, each by itself."""

from typing import Any

from bus.errors import NotFound
from bus.events import JsonObject
from bus.keys import SessionKey
from gateway.handlers.moves import Moves

KEYS = [SessionKey(f"agent:{agent}:telegram:direct:7") for agent in ("main", "cook", "coach")]
OTHER = SessionKey("agent:main:telegram:direct:8")


class Sessions:
    """Those of alice, of which one is deleted between the list and the change."""

    def __init__(self) -> None:
        self.owner: dict[SessionKey, Any] = {}

    async def owned_by(self, user: str) -> list[SessionKey]:
        return [*KEYS, OTHER]

    async def update(self, key: SessionKey, changes: JsonObject) -> None:
        if key == KEYS[0]:
            raise NotFound("no such session")
        self.owner[key] = changes["owner"]


async def test_one_that_cannot_go_along_keeps_no_other() -> None:
    sessions, expelled = Sessions(), []
    moves = Moves(sessions, sessions.update, lambda user, key: expelled.append((user, key)), frozenset({"telegram"}))
    moves.begin("telegram:bot:7", "alice", "bob")
    await moves.settle()
    assert sessions.owner == dict.fromkeys(KEYS[1:], "bob")
    assert expelled == [("alice", key) for key in KEYS[1:]]

"""Where nobody can be asked and no tool is found: what stands in for neighbours that are not composed."""

from collections.abc import Sequence

from bus.errors import NotFound
from bus.events import Actor, Decision, JsonObject
from bus.keys import SessionKey


class NobodyToAsk:
    """Implements `agent.ports.Approvals` with nothing to approve."""

    async def resolve(self, approval_id: str, decision: Decision, actor: Actor) -> bool:
        raise NotFound("no such approval")

    async def grants(self, actor: Actor) -> Sequence[JsonObject]:
        return ()

    async def revoke(self, grant_id: str, actor: Actor) -> bool:
        return False

    async def session_ended(self, session: SessionKey) -> None:
        return None

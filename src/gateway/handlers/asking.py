"""`approval.*`, `question.answer`, `bridge.*`, `usage.get`: what stands between a person and his tools.

The answers come from neighbours (approvals, the tunnel's directory, the usage book); where one is not
composed its lists are empty and its things are not found.
"""

from typing import Annotated, Any, Literal

from pydantic import Field

from bus.errors import NotFound
from bus.events import JsonObject
from gateway.handlers.call import Call, Nothing, Params
from gateway.handlers.dispatch import Method, method
from gateway.handlers.ports import Asking, Audit, Bridges, UsageBook

Name = Annotated[str, Field(min_length=1, max_length=256)]


class Resolve(Params):
    approval_id: Name
    decision: Literal["allow_once", "allow_session", "allow_always", "deny"]


class RevokeGrant(Params):
    grant_id: Name


class Answer(Params):
    question_id: Name
    action: Literal["accept", "decline", "cancel"]
    content: dict[str, Any] | None = None


class Pair(Params):
    code: Annotated[str, Field(min_length=1, max_length=64)]


class RevokeBridge(Params):
    bridge_id: Name


class Days(Params):
    days: Annotated[int, Field(ge=1, le=366)] = 30


class AskingMethods:
    """The family."""

    def __init__(
        self, *, asking: Asking | None, bridges: Bridges | None, usage: UsageBook | None, audit: Audit | None
    ) -> None:
        self._asking = asking
        self._bridges = bridges
        self._usage = usage
        self._audit = audit

    def table(self) -> list[Method]:
        return [
            method("approval.list", "approve", Nothing, self.pending),
            method("approval.resolve", "approve", Resolve, self.resolve),
            method("approval.grants", "approve", Nothing, self.grants),
            method("approval.revoke", "approve", RevokeGrant, self.revoke_grant),
            method("question.answer", "approve", Answer, self.answer),
            method("bridge.list", "tools tunnel read", Nothing, self.bridges),
            method("bridge.pair", "tunnel", Pair, self.pair),
            method("bridge.revoke", "tunnel", RevokeBridge, self.revoke_bridge),
            method("usage.get", "chat read", Days, self.usage),
        ]

    async def pending(self, call: Call, params: Nothing) -> JsonObject:
        """What waits for your yes."""
        return {"approvals": list(await self._asking.pending(call.who.actor())) if self._asking else []}

    async def resolve(self, call: Call, params: Resolve) -> JsonObject:
        """Allow or deny a tool call."""
        if self._asking is None:
            raise NotFound("no such approval")
        return {"resolved": await self._asking.resolve(params.approval_id, params.decision, call.who.actor())}

    async def grants(self, call: Call, params: Nothing) -> JsonObject:
        """What you have allowed beyond one call."""
        return {"grants": list(await self._asking.grants(call.who.actor())) if self._asking else []}

    async def revoke_grant(self, call: Call, params: RevokeGrant) -> JsonObject:
        """Take such a permission back."""
        if self._asking is None:
            raise NotFound("no such grant")
        return {"revoked": await self._asking.revoke(params.grant_id, call.who.actor())}

    async def answer(self, call: Call, params: Answer) -> JsonObject:
        """Answer a tool's question."""
        if self._asking is None:
            raise NotFound("no such question")
        done = await self._asking.answer(params.question_id, params.action, params.content, call.who.actor())
        return {"resolved": done}

    async def bridges(self, call: Call, params: Nothing) -> JsonObject:
        """Your computers."""
        return {"bridges": list(await self._bridges.list_bridges(call.who.user)) if self._bridges else []}

    async def pair(self, call: Call, params: Pair) -> JsonObject:
        """Let a bridge in by its code."""
        if self._bridges is None:
            raise NotFound("no such code")
        bridge_id = await self._bridges.pair(params.code, call.who.actor())
        self._note("bridge.pair", call, bridge_id=bridge_id)
        return {"bridge_id": bridge_id}

    async def revoke_bridge(self, call: Call, params: RevokeBridge) -> JsonObject:
        """Lock a bridge out."""
        if self._bridges is None:
            raise NotFound("no such bridge")
        revoked = await self._bridges.revoke(params.bridge_id, call.who.actor())
        self._note("bridge.revoke", call, bridge_id=params.bridge_id)
        return {"revoked": revoked}

    async def usage(self, call: Call, params: Days) -> JsonObject:
        """Tokens, money and calls by day."""
        return await self._usage.usage(call.who.user, params.days, call.who.role) if self._usage else {"days": []}

    def _note(self, action: str, call: Call, **details: object) -> None:
        if self._audit is not None:
            self._audit.record(action, user=call.who.user, **details)

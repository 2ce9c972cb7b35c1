"""`tools.*`: what there is, and a person's own call, through the same guard as the model's."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from typing import Annotated, Any, Protocol

from pydantic import Field

from agent.ports.tools import (
    ApprovalAnswered,
    ApprovalAsked,
    Progress,
    QuestionAsked,
    ToolCall,
    ToolSource,
    ToolSpec,
    ToolUpdate,
)
from bus.context import new_id
from bus.deadline import Deadline
from bus.errors import GatewayError, IdempotencyConflict, Overloaded
from bus.events import Actor, ApprovalRequested, ApprovalResolved, JsonObject, QuestionRequested
from bus.message_bus import Events
from gateway.handlers.call import Call, Nothing, Params
from gateway.handlers.dispatch import Method, method
from gateway.handlers.remembered import Remembered
from gateway.tools.kept_calls import KeptCalls, content_of

log = logging.getLogger("gateway.tools")


class Tools(ToolSource, Protocol):
    """All sources behind the guard, which finds one tool without listing all."""

    async def find(self, actor: Actor, name: str) -> ToolSpec | None: ...


class CallTool(Params):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    idempotency_key: Annotated[str, Field(min_length=1, max_length=255)] | None = None


class ToolMethods:
    """The family. `seconds` bounds one call."""

    def __init__(self, *, tools: Tools, kept: KeptCalls, events: Events, seconds: float) -> None:
        self._tools = tools
        self._kept = kept
        self._events = events
        self._seconds = seconds
        self._remembered = Remembered()

    async def forget(self, user: str) -> None:
        """What a user who is gone called, and what came of it."""
        self._remembered.forget(lambda key: isinstance(key, tuple) and key[0] == user)
        await self._kept.forget_user(user)

    def table(self) -> list[Method]:
        return [
            method("tools.list", "tools read", Nothing, self.list),
            method("tools.call", "tools", CallTool, self.call),
        ]

    async def list(self, call: Call, params: Nothing) -> JsonObject:
        """The tools that the assistant and you may use."""
        out = []
        for spec in await self._tools.list_tools(call.who.actor(channel=call.channel)):
            row: JsonObject = {
                "name": spec.name, "description": spec.description, "input_schema": spec.input_schema,
                "source": spec.source, "policy": spec.policy, "available": spec.available,
            }  # fmt: skip
            if spec.bridge is not None:
                row["bridge"] = spec.bridge
            if spec.server is not None:
                row["server"] = spec.server
            out.append(row)
        return {"tools": out}

    async def call(self, call: Call, params: CallTool) -> JsonObject:
        """Call a tool yourself."""
        if params.idempotency_key is None:
            return await self._run(call, params, new_id("key"))
        key, content = params.idempotency_key, content_of(params.name, params.arguments)
        entry = self._remembered.enter((call.who.user, key), content)
        if not entry.same(content):
            raise IdempotencyConflict("this idempotency key was used for another call")
        return await entry.once(lambda: self._once(call, params, key, content))

    async def _once(self, call: Call, params: CallTool, key: str, content: str) -> JsonObject:
        """Make the call, unless it was made before, in whatever run of the house."""
        user, passed = call.who.user, f"user:{key}"
        before = self._kept.find(user, key)
        if before is not None and before.content != content:
            raise IdempotencyConflict("this idempotency key was used for another call")
        spec = await self._tools.find(call.who.actor(channel=call.channel), params.name)
        if before is not None:
            return before.outcome()
        # A bridge keeps what it did under this key in a ledger of its own; what only reads may be done again.
        if spec is None or spec.source == "bridge" or spec.read_only or spec.idempotent:
            return await self._run(call, params, passed)
        await self._kept.begin(user, key, content)
        asking: set[str] = set()
        try:
            answer = await self._run(call, params, passed, asking)
        except GatewayError as error:
            await self._keep(self._kept.failed(user, key, content, error))
            raise
        except asyncio.CancelledError:
            if asking:  # its caller left while a person was asked: it was surely not made
                await self._kept.forget(user, key)
            raise
        await self._keep(self._kept.done(user, key, content, answer))
        return answer

    async def _keep(self, writing: Awaitable[None]) -> None:
        """Where the disk refuses, the caller still gets what came of the call: "overloaded" would ask him to repeat it.

        What is written down says that it was begun, so that nobody makes it again.
        """
        try:
            await writing
        except Overloaded as error:
            log.warning("what came of a keyed call is not written down: %s", error.message)

    async def _run(self, call: Call, params: CallTool, key: str, asking: set[str] | None = None) -> JsonObject:
        """`asking` holds the ids of the questions that wait for a person."""
        actor = call.who.actor(channel=call.channel)
        call_id = new_id("call")

        def report(update: ToolUpdate) -> None:
            if asking is not None and isinstance(update, ApprovalAsked):
                asking.add(update.approval_id)
            elif asking is not None and isinstance(update, ApprovalAnswered):
                asking.discard(update.approval_id)
            self._report(update, call_id, actor.user)

        wanted = ToolCall(
            call_id=call_id, name=params.name, arguments=params.arguments, actor=actor, idempotency_key=key,
            attended=actor.role != "service",
        )  # fmt: skip
        begun = time.monotonic()
        result = await self._tools.call(wanted, deadline=Deadline(self._seconds), report=report)
        out: JsonObject = {
            "content": list(result.content), "is_error": result.is_error,
            "duration_ms": result.duration_ms or int((time.monotonic() - begun) * 1000),
        }  # fmt: skip
        if result.structured_content is not None:
            out["structured_content"] = result.structured_content
        return out

    def _report(self, update: ToolUpdate, call_id: str, user: str) -> None:
        """What happens in a bare call goes to the user's connections, without a session."""
        if isinstance(update, ApprovalAsked):
            self._events.publish(
                ApprovalRequested(
                    approval_id=update.approval_id, call_id=call_id, tool=update.tool, arguments=update.arguments,
                    risk=update.risk, expires_at=update.expires_at, user=user, where=update.where,
                )
            )  # fmt: skip
        elif isinstance(update, ApprovalAnswered):
            self._events.publish(
                ApprovalResolved(
                    approval_id=update.approval_id, decision=update.decision, by=update.by, user=user
                )
            )  # fmt: skip
        elif isinstance(update, QuestionAsked):
            self._events.publish(
                QuestionRequested(
                    question_id=update.question_id, message=update.message, schema=update.schema, user=user
                )
            )  # fmt: skip
        else:
            assert isinstance(update, Progress)

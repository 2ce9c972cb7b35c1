"""The tools of a person's bridges, as a `ToolSource`.

A call goes to the bridge that carries the tool, waits within its deadline through drops and restarts of either
side, and pauses while the person is asked. Above is the guard; below, the directory. It knows no socket.
"""

import asyncio
import hashlib
import time
from collections.abc import Coroutine, Sequence

from agent.ports.tools import Report, ToolCall, ToolResult, ToolSpec
from bridge.errors import BridgeError
from bridge.protocol import Outgoing, arguments_hash
from bridge.servers.alarm import Alarm
from bus import tracing
from bus.context import trace_id
from bus.deadline import Deadline
from bus.errors import CallCancelled, IdempotencyConflict, NotFound, ToolResultInvalid, Unreachable, from_code
from bus.events import Actor, JsonObject
from gateway.tunnel.bridge import Bridge
from gateway.tunnel.directory import Directory
from gateway.tunnel.hashes import hash_of
from gateway.tunnel.ports import Desk
from gateway.tunnel.waiting import Waiting


class BridgeTools:
    """Tools of all bridges of whoever asks. `close` ends what waits."""

    def __init__(self, directory: Directory, desk: Desk) -> None:
        self._directory = directory
        self._desk = desk
        self._closing = False
        self._alarm = Alarm()
        self._tasks: set[asyncio.Task[None]] = set()

    async def list_tools(self, actor: Actor) -> Sequence[ToolSpec]:
        """The actor's own bridges' tools, those away too."""
        return [spec for bridge in self._directory.bridges_of(actor.user) for spec in bridge.specs()]

    def find_tool(self, actor: Actor, name: str) -> ToolSpec | None:
        """One tool, without listing all."""
        found = self._directory.find(actor.user, name)
        return None if found is None else found[0].spec(found[1])

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        """Run it. Raises NotFound for a tool that isn't this user's, Unreachable at once where its bridge is away."""
        found = self._directory.find(call.actor.user, call.name)
        if found is None:
            raise NotFound("no such tool")
        bridge, own = found
        if not bridge.connected and not call.repeated:
            raise Unreachable(f"the bridge {bridge.name} is away")
        return await self.request(
            bridge, call, own, "tools/call", {"name": own, "arguments": call.arguments}, deadline, report
        )

    async def request(
        self, bridge: Bridge, call: ToolCall, own: str, method: str, params: JsonObject, deadline: Deadline,
        report: Report, *, server: str | None = None,
    ) -> ToolResult:  # fmt: skip
        """Any MCP request through a bridge. `resources/read` names its `server`."""
        try:
            content = hash_of(call) if method == "tools/call" else arguments_hash(params.get("arguments"))
        except BridgeError as error:
            raise from_code(error.code, error.message) from error
        wire_id = wire_id_of(call)
        there = bridge.waiters.get(wire_id)
        if isinstance(there, Waiting):
            if there.content != (own, content):
                raise IdempotencyConflict("this idempotency key is in use for another call")
            return result_of(await there.join(), 0)
        waiting = Waiting(
            bridge=bridge, call=call, own=own, content=(own, content), wire_id=wire_id, deadline=deadline,
            report=report, desk=self._desk, spawn=self._own, alarm=self._alarm,
        )  # fmt: skip
        outgoing = Outgoing(
            id=wire_id, method=method, params=params, actor=actor_of(call), idempotency_key=call.idempotency_key,
            remaining=deadline.remaining, arguments_sha256=content, server=server, repeated=call.repeated,
        )  # fmt: skip
        begun = time.monotonic()
        try:
            waiting.arm()
            with tracing.span(tracing.TUNNEL, bridge.bridge_id, call_id=call.call_id, tool=own) as span:
                # The bridge's own records and spans hang below this one.
                outgoing.traceparent = _traceparent()
                bridge.start(outgoing, waiting)
                answer = await waiting.result
                span.set("error.type", "tool" if "error" in answer else "")
        except BridgeError as error:
            raise from_code(
                error.code, error.message, retry_after_ms=error.retry_after_ms, effect=error.effect
            ) from error
        finally:
            await waiting.end(keep=self._closing)
            if bridge.waiters.get(wire_id) is waiting:
                self._leave(bridge, wire_id, waiting.reason)
                waiting.failed(CallCancelled("the call was given up", effect="unknown"))
        return result_of(answer, int((time.monotonic() - begun) * 1000))

    def _leave(self, bridge: Bridge, wire_id: str, reason: str) -> None:
        """Nobody waits any more: the bridge is told, unless it is only this gateway that stops."""
        if self._closing:
            bridge.waiters.pop(wire_id, None)
        else:
            bridge.perform(bridge.give_up(wire_id, reason))

    def closing(self) -> None:
        """The gateway stops: turns are cut, but what runs at bridges goes on for the turns that will go on."""
        self._closing = True

    async def close(self) -> None:
        """End what is under way."""
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _own(self, work: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def wire_id_of(call: ToolCall) -> str:
    """The call's id in the tunnel: the same for every repetition, after a restart of the gateway too."""
    session = "" if call.session is None else call.session.identity
    text = "\0".join((call.actor.user, session, call.idempotency_key))
    return "c_" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def actor_of(call: ToolCall) -> JsonObject:
    """`ctl.actor`: on whose behalf, from where."""
    actor: JsonObject = {"user": call.actor.user, "channel": call.actor.channel}
    if call.session is not None:
        actor["session_key"] = call.session.text
    return actor


def result_of(payload: JsonObject, duration_ms: int) -> ToolResult:
    """A JSON-RPC answer as the agent knows results; the server's own error is a result with `is_error`.

    Raises ToolResultInvalid, effect `done`: the bridge looks at what its servers say, another kind of bridge may not.
    """
    result = payload.get("result")
    if isinstance(result, dict):
        content = result.get("content")
        if content is None:
            content = [{"type": "text", "text": ""}] if "structuredContent" in result else []
        if type(content) is not list or not all(type(b) is dict and type(b.get("type")) is str for b in content):
            raise ToolResultInvalid("the result of tools/call has no valid 'content'", effect="done")
        return ToolResult(
            content=tuple(content), structured_content=result.get("structuredContent"),
            is_error=result.get("isError") is True, duration_ms=duration_ms,
        )  # fmt: skip
    error = payload.get("error")
    message = str(error.get("message", "")) if isinstance(error, dict) else ""
    return ToolResult(
        content=({"type": "text", "text": message or "the server answered with an error"},), is_error=True,
        duration_ms=duration_ms,
    )  # fmt: skip


def _traceparent() -> str | None:
    """W3C Trace Context (section 3.2), where a trace is under way."""
    return tracing.traceparent() if trace_id.get() else None

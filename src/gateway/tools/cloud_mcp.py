"""Cloud tools from the gateway's own MCP servers (`mcp_servers`): a `ToolSource` over `bridge.servers`.

Above it are the registry and the guard, which asks the policy before a call comes here; below, one owner task per
server, the same as on a laptop. These tools are everybody's: what a server asks in the middle of a call goes only
to the person whose call it surely is. The default policy is `allow`, narrowed by the operator's `tools`.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from agent.ports.tools import Policy, Progress, Report, ToolCall, ToolResult, ToolSpec
from bridge.errors import BridgeError, McpError
from bridge.policy import decide, idempotent, standing, strictest
from bridge.servers.calls import Progress as McpProgress
from bridge.servers.calls import Question
from bridge.servers.definitions import ToolDefinition
from bridge.servers.groups import ProcessGroups, sweep
from bridge.servers.jsonrpc import JsonObject, Reply
from bridge.servers.memory import Memory
from bridge.servers.names import NameTable
from bridge.servers.owner import ServerOwner
from bridge.settings import McpServerSettings
from bus.deadline import Deadline
from bus.errors import NotFound, TimedOut, ToolDenied, ToolResultInvalid, from_code
from bus.events import Actor
from gateway.tools.cloud_oauth import SignIn

_LOG = logging.getLogger("gateway.cloud_mcp")
DEFAULT: Policy = "allow"
MAX_RESULT_BYTES = 32 * 1024 * 1024
_PROGRESS_SECONDS = 0.25


class AskPerson(Protocol):
    """Carries an elicitation to the person whose call runs; `{"action", "content"?}` comes back."""

    async def __call__(self, call: ToolCall, message: str, schema: JsonObject, report: Report) -> JsonObject: ...


class CloudMcp:
    """The gateway's MCP servers as tools. `run()` starts them side by side and keeps them alive."""

    def __init__(
        self, servers: Sequence[McpServerSettings], *, folder: Path | None = None, ask: AskPerson | None = None,
        changed: Callable[[], None] = lambda: None, sign_in: SignIn | None = None,
    ) -> None:  # fmt: skip
        """`folder` keeps `servers.json` (what to end after a crash) and `cloud_tools.json`."""
        self._folder = folder
        self._groups = ProcessGroups(folder)
        self._memory = Memory(None if folder is None else folder / "cloud_tools.json")
        self._ask = ask
        self._changed = changed
        self._names = NameTable()
        self.sign_in = sign_in
        authorise = None if sign_in is None else sign_in.auth
        self._owners = {
            server.name: ServerOwner(server, self._groups, changed=self._forget, authorise=authorise)
            for server in servers
            if server.enabled
        }
        for owner in self._owners.values():
            # As they were when it ran last: a turn that goes on after a restart need not wait for the start.
            owner.offers.tools = self._memory.tools(owner.name)
        self._table: dict[str, tuple[ServerOwner, ToolDefinition, ToolSpec]] | None = None

    async def run(self) -> None:
        """Keep the servers alive until cancelled."""
        if self._folder is not None:
            for left in await asyncio.to_thread(sweep, self._folder):
                _LOG.warning("process %d (%s) of an earlier run was %s", left.pid, left.name, _fate(left.ended))
        try:
            async with asyncio.TaskGroup() as group:
                for owner in self._owners.values():
                    if owner.settings.lazy and not owner.tools:
                        owner.learn()
                    group.create_task(self._live(owner), name=f"mcp:{owner.name}")
                await asyncio.Event().wait()
        finally:
            self._groups.close()

    async def _live(self, owner: ServerOwner) -> None:
        """One server's life; one that wants a sign-in lives while its tokens are good."""
        settings, sign_in = owner.settings, self.sign_in
        if settings.sign_in is None or sign_in is None:
            await owner.run()
            return
        while True:
            owner.hold("somebody has to sign in: see the address in /status")
            await sign_in.ready(settings)
            async with asyncio.TaskGroup() as group:
                life = group.create_task(owner.run())
                await sign_in.lost(settings)
                life.cancel()

    async def settled(self) -> None:
        """Wait until no server is starting any more."""
        await asyncio.gather(*(owner.settled() for owner in self._owners.values()))

    # ------------------------------------------------------------ the ToolSource

    async def list_tools(self, actor: Actor) -> Sequence[ToolSpec]:
        """All tools of all servers; those of a server that was given up are not available."""
        return [spec for _, _, spec in self._tools().values()]

    async def call(self, call: ToolCall, *, deadline: Deadline, report: Report) -> ToolResult:
        """Run one call. Raises GatewayError: NotFound, ToolDenied, ServerDown, TimedOut, OutcomeUnknown, …"""
        found = self._tools().get(call.name)
        if found is None:
            raise NotFound(f"there is no tool named {call.name[:80]}")
        owner, definition, spec = found
        # a rule on arguments shows as `ask` in the listing; what it denies is denied whatever a person said
        verdict = decide(owner.settings.tools, DEFAULT, call.name, definition.name, call.arguments)
        if verdict.policy == "deny":
            raise ToolDenied(verdict.reason)
        began = time.monotonic()
        seconds = deadline.remaining()
        if seconds <= 0:
            raise TimedOut(effect="none")
        try:
            reply = await owner.request(
                "tools/call", {"name": definition.name, "arguments": call.arguments}, timeout=seconds,
                on_progress=_slower(report), on_question=self._asker(call, deadline, report),
                repeatable=spec.idempotent, scope=call.actor.user,
            )  # fmt: skip
        except McpError as error:
            return ToolResult(
                content=({"type": "text", "text": error.message},), is_error=True, duration_ms=_since(began)
            )  # fmt: skip
        except BridgeError as error:
            raise from_code(
                error.code, error.message, retry_after_ms=error.retry_after_ms, effect=error.effect
            ) from None
        return _result(reply, _since(began))

    # ------------------------------------------------------------ for the guard and for status

    def find_tool(self, actor: Actor, name: str) -> ToolSpec | None:
        """One tool, without listing all."""
        found = self._tools().get(name)
        return None if found is None else found[2]

    def changed(self, name: str) -> bool:
        """Whether a tool is not what it was when somebody agreed to it: no grant covers it then."""
        found = self._tools().get(name)
        return found is not None and self._memory.changed(name, found[1].fingerprint)

    def agree(self, name: str) -> None:
        """A person said yes to the tool as it is now."""
        if self.changed(name):
            self._memory.agree(name, self._tools()[name][1].fingerprint)
            self._forget()

    def status(self) -> list[JsonObject]:
        """For `/status`: name, state and, where there is one, the reason, and the address to sign in at."""
        addresses = {} if self.sign_in is None else self.sign_in.pending()
        return [
            {"name": owner.name, "state": owner.state, "tools": len(owner.tools)}
            | ({"error": owner.error} if owner.error else {})
            | ({"sign_in": addresses[owner.name]} if owner.name in addresses else {})
            for owner in self._owners.values()
        ]

    # ------------------------------------------------------------ the table

    def _forget(self) -> None:
        self._table = None
        self._changed()

    def _tools(self) -> dict[str, tuple[ServerOwner, ToolDefinition, ToolSpec]]:
        if self._table is None:
            self._table = {}
            for owner in self._owners.values():
                for definition in owner.tools:
                    self._add(owner, definition)
                if owner.tools:
                    self._memory.saw(owner.name, owner.tools)
            self._memory.save()
        return self._table

    def _add(self, owner: ServerOwner, definition: ToolDefinition) -> None:
        assert self._table is not None
        name = self._names.claim(owner.name, definition.name)
        if name is None:
            _LOG.warning("%s: '%s' is left out: its public name is taken", owner.name, definition.name[:80])
            return
        rules = owner.settings.tools
        policy = standing(rules, DEFAULT, name, definition.name)
        if self._memory.changed(name, definition.fingerprint):
            policy = strictest(policy, "ask")
        twice = idempotent(rules, definition.name)
        hint = (definition.annotations or {}).get("readOnlyHint") is True  # the server's own word
        spec = ToolSpec(
            name=name, description=definition.description, input_schema=definition.input_schema, server=owner.name,
            policy=policy, available=owner.state != "failed", read_only=twice, idempotent=twice,
            side_by_side=twice or hint,
        )  # fmt: skip
        self._table[name] = (owner, definition, spec)

    def _asker(
        self, call: ToolCall, deadline: Deadline, report: Report
    ) -> Callable[[Question], Awaitable[JsonObject]] | None:
        ask = self._ask
        if ask is None or not call.attended:
            return None

        async def asked(question: Question) -> JsonObject:
            deadline.pause()
            try:
                return await ask(call, question.message, question.schema, report)
            finally:
                deadline.resume()

        return asked


def _result(reply: Reply, duration_ms: int) -> ToolResult:
    if reply.raw is not None and len(reply.raw) > MAX_RESULT_BYTES:
        raise ToolResultInvalid(f"the result is larger than {MAX_RESULT_BYTES >> 20} MiB", effect="done")
    value: dict[str, Any] = reply.value
    return ToolResult(
        content=tuple(value.get("content") or ()), structured_content=value.get("structuredContent"),
        is_error=value.get("isError") is True, duration_ms=duration_ms,
    )  # fmt: skip


def _slower(report: Report) -> Callable[[McpProgress], None]:
    """At most four pieces of news a second; the newest of a burst may be lost, the result says it all."""
    last = 0.0

    def progress(news: McpProgress) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= _PROGRESS_SECONDS:
            last = now
            report(Progress(progress=news.progress, total=news.total, message=news.message))

    return progress


def _since(began: float) -> int:
    return int((time.monotonic() - began) * 1000)


def _fate(ended: bool) -> str:
    return "ended" if ended else "found and could not be ended"

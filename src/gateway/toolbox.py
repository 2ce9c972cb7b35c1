"""Everything that tools come from, behind the one guard: built-ins, cloud MCP servers, people's bridges.

A part of the composition root (`composition.py`): it constructs, and decides nothing.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from agent.persona import Personas
from agent.ports.tools import QuestionAsked, Report, ToolCall
from agent.tools.builtin.catalogue import Builtins, builtins
from agent.tools.builtin.memory_book import MemoryBook
from agent.tools.builtin.schedule_book import Scheduler
from agent.tools.builtin.skill import Skills
from bridge.audit import AuditLog
from bridge.audit.trail import AuditTrail
from bus.context import new_id
from bus.events import JsonObject
from bus.message_bus import Events
from gateway.people import People
from gateway.settings import Loaded
from gateway.tools.approvals import ApprovalDesk
from gateway.tools.cloud_mcp import CloudMcp
from gateway.tools.cloud_oauth import SignIn
from gateway.tools.guard import Guard
from gateway.tools.kept_calls import KeptCalls
from gateway.tools.rules import rule_of
from gateway.tools.store import Store
from gateway.tunnel.directory import Directory
from gateway.tunnel.endpoint import Endpoint
from gateway.tunnel.tools import BridgeTools


@dataclass(slots=True)
class Toolbox:
    """What the rest of the composition needs of it."""

    guard: Guard
    kept_calls: KeptCalls
    desk: ApprovalDesk
    directory: Directory
    endpoint: Endpoint
    bridge_tools: BridgeTools
    cloud: CloudMcp
    sign_in: SignIn
    memory: "Memories"
    scheduler: Scheduler
    personas: Personas
    trail: AuditTrail
    builtins: Builtins

    def closing(self) -> None:
        """Before turns are cut: what runs at bridges and what waits for a person is kept for the turns that go on."""
        self.desk.closing()
        self.bridge_tools.closing()

    async def forget(self, user: str) -> None:
        """A user is gone, and all that is kept for him here. Raises GatewayError, OSError."""
        await self.desk.forget(user)  # first: a bridge is told by the directory what ends
        await self.directory.forget(user)
        await self.scheduler.forget(user)
        await self.memory.forget(user, "all")
        await asyncio.to_thread(self.personas.forget, user)


class BridgeTokens:
    """Tokens for paired bridges: scope `tunnel` alone."""

    def __init__(self, people: People) -> None:
        self._people = people

    def make(self, user: str, name: str) -> tuple[str, str]:
        role = self._people.users.role_of(user)
        token, text = self._people.tokens.create(user, role, time.time(), scopes=["tunnel"], name=name)
        return token.token_id, text

    async def revoke(self, token_id: str) -> None:
        self._people.tokens.revoke(token_id)


class Memories:
    """`/memory` over the book that the tool writes."""

    def __init__(self, book: MemoryBook) -> None:
        self._book = book

    async def notes(self, user: str) -> list[str]:
        """Everything remembered of this person, with the ids to forget by."""
        return [f"{memory.text} (`{memory.memory_id}`)" for memory in await asyncio.to_thread(self._book.all, user)]

    async def forget(self, user: str, words: str) -> int:
        """By id, by words, or `all`; how many were forgotten."""
        if words.lower() in ("all", "全部"):
            return await asyncio.to_thread(self._book.forget_all, user)
        return await asyncio.to_thread(self._forget, user, words.strip("`"))

    def _forget(self, user: str, words: str) -> int:
        if self._book.forget(user, words):
            return 1
        found = [memory for memory in self._book.all(user) if words.lower() in memory.text.lower()]
        return sum(self._book.forget(user, memory.memory_id) for memory in found)


async def open_toolbox(
    loaded: Loaded, stack: AsyncExitStack, *, people: People, audit: AuditLog, events: Events,
    platforms: frozenset[str], url: Callable[[], str],
) -> Toolbox:  # fmt: skip
    """Build it; what it opens is closed by `stack`. `url` is the gateway's own address."""
    settings, home = loaded.settings, loaded.home
    trail = AuditTrail(audit)
    stack.callback(trail.close)
    store = Store(home / "approvals.db")
    stack.callback(store.close)
    desk = ApprovalDesk(store)
    directory = Directory(home=home, gate=people.authenticator, tokens=BridgeTokens(people), events=events, trail=trail)
    stack.push_async_callback(directory.close)
    desk.permissions.keepers = directory
    bridge_tools = BridgeTools(directory, desk)
    stack.push_async_callback(bridge_tools.close)

    async def ask(call: ToolCall, message: str, schema: JsonObject, report: Report) -> JsonObject:
        question_id = new_id("q")
        report(QuestionAsked(question_id=question_id, message=message, schema=schema))
        return await desk.ask_input(question_id, call.actor)

    sign_in = SignIn(home / "mcp" / "tokens", url)
    cloud = CloudMcp(settings.mcp_servers, folder=home / "mcp", ask=ask, sign_in=sign_in)
    made = builtins(home, settings.tools)
    personas = Personas(home)
    guard = Guard(
        [made.source, Skills(personas), cloud, bridge_tools], desk=desk, trail=trail, platforms=platforms,
        rules=[rule_of(settings.tools.rules)] if settings.tools.rules else [], standing=people.may_use_tools,
    )  # fmt: skip
    return Toolbox(
        guard=guard, kept_calls=KeptCalls(store), desk=desk,
        directory=directory, endpoint=Endpoint(directory, people.authenticator, trail),
        bridge_tools=bridge_tools, cloud=cloud, sign_in=sign_in, memory=Memories(made.memory), scheduler=made.scheduler,
        personas=personas, trail=trail, builtins=made,
    )  # fmt: skip

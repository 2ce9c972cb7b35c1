"""An agent with a real log and a real bus around a model of one's choice."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agent.agents import Agents
from agent.commands import CommandRunner
from agent.loop import AgentLoop
from agent.ports.models import LanguageModel
from agent.ports.tools import Approvals, ToolCall, ToolResult, ToolSource, ToolSpec
from agent.sessions.jsonl_store import JsonlStore
from agent.settings import AgentSettings, LimitSettings
from agent.supervisor import SupervisorAgent
from bus.context import new_id
from bus.errors import NotFound
from bus.events import TERMINAL, Accepted, Actor, Event, InboundMessage
from bus.keys import SessionKey, default_key
from bus.message_bus import MemoryBus

SCOPES = frozenset({"chat", "tools", "approve", "tunnel"})


class Tools:
    """A tool source with tools of one's choice: name -> (spec, function)."""

    def __init__(self) -> None:
        self.specs: dict[str, ToolSpec] = {}
        self.functions: dict[str, Callable[[ToolCall], Any]] = {}
        self.calls: list[ToolCall] = []

    def add(self, name: str, function: Callable[[ToolCall], Any], **spec: Any) -> None:
        schema = spec.pop("input_schema", {"type": "object"})
        self.specs[name] = ToolSpec(name=name, description=f"does {name}", input_schema=schema, **spec)
        self.functions[name] = function

    async def list_tools(self, actor: Actor, session: SessionKey | None = None) -> list[ToolSpec]:
        return list(self.specs.values())

    async def call(self, call: ToolCall, *, deadline: Any, report: Any) -> ToolResult:
        self.calls.append(call)
        if call.name not in self.functions:
            raise NotFound("no such tool")
        found = self.functions[call.name](call)
        if asyncio.iscoroutine(found):
            found = await found
        return ToolResult(content=({"type": "text", "text": str(found)},))


class Nobody:
    """The gateway's side of the commands, with nothing in it."""

    async def resolve(self, approval_id: str, decision: Any, actor: Actor) -> bool:
        raise NotFound("no such approval")

    async def grants(self, actor: Actor) -> list[Any]:
        return []

    async def revoke(self, grant_id: str, actor: Actor) -> bool:
        return False

    async def session_ended(self, session: SessionKey) -> None:
        pass

    async def command(self, name: str, arguments: str, actor: Actor, session: SessionKey) -> str:
        return ""

    async def link(self, code: str, actor: Actor) -> str:
        raise NotFound("no such code")


class Agent:
    """A running agent and everything it said."""

    def __init__(self, folder: Path, model: LanguageModel, tools: ToolSource | None = None,
                 limits: dict[str, Any] | None = None, settings: dict[str, Any] | None = None) -> None:  # fmt: skip
        self.folder = folder
        self.bus = MemoryBus()
        self.accountant: Any = None
        self.compactor: Any = None
        self.agents = Agents({}, [])
        self.media: Any = None
        self.persona: Any = None
        self.disk: Any = None
        self.model = model
        self.tools = tools or Tools()
        self.limits = LimitSettings(**limits or {})
        self.settings = AgentSettings(**{"mode": "single"} | (settings or {}))
        self.events: list[Event] = []
        self.changed = asyncio.Event()
        self.bus.attach(self._saw)
        self._numbers = itertools.count()

    def _saw(self, event: Event) -> None:
        self.events.append(event)
        self.changed.set()

    async def send(self, text: str, *, user: str = "alice", key: SessionKey | None = None, **more: Any) -> Accepted:
        message = InboundMessage(
            session=key or default_key(user), actor=Actor(user=user, scopes=SCOPES), text=text,
            message_id=new_id("msg"), received_at=time.time(), **more,
        )  # fmt: skip
        return await self.bus.submit(message)

    async def until(self, found: Callable[[], Any], seconds: float = 10) -> Any:
        async with asyncio.timeout(seconds):
            while not (value := found()):
                self.changed.clear()
                await self.changed.wait()
        return value

    def of(self, message_id: str) -> list[Event]:
        return [event for event in self.events if getattr(event, "message_id", None) == message_id]

    def ends(self, message_id: str) -> list[Any]:
        return [event for event in self.of(message_id) if isinstance(event, TERMINAL)]

    async def end(self, accepted: Accepted) -> Any:
        return (await self.until(lambda: self.ends(accepted.message_id)))[0]

    async def ask(self, text: str, **more: Any) -> Any:
        return await self.end(await self.send(text, **more))


@asynccontextmanager
async def running(agent: Agent) -> AsyncIterator[Agent]:
    """The agent at work; leaving is a clean stop."""
    async with JsonlStore(agent.folder, disk=agent.disk) as store:
        agent.store = store
        nobody: Any = Nobody()
        approvals: Approvals = nobody
        supervisor = SupervisorAgent(model=agent.model, tools=agent.tools, settings=agent.settings,
                                     agents=agent.agents, media=agent.media, persona=agent.persona)  # fmt: skip
        runner = CommandRunner(store=store, sessions=store, tools=agent.tools, approvals=approvals,
                               administration=nobody, linker=nobody)  # fmt: skip
        agent.loop = AgentLoop(
            bus=agent.bus,
            store=store,
            supervisor=supervisor,
            limits=agent.limits,
            settings=agent.settings,
            run_command=runner,
            open_turns=store.open_turns,
            accountant=agent.accountant,
            compactor=agent.compactor,
        )
        service = asyncio.get_running_loop().create_task(agent.loop.run())
        try:
            await agent.loop.accepting.wait()
            yield agent
            await agent.loop.drain(agent.limits.drain_seconds)
        finally:
            service.cancel()
            await asyncio.wait([service])

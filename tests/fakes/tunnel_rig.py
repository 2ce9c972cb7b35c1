"""A gateway's tunnel and a bridge, whole and real but for the MCP servers: real sockets, real files, real restarts.

`CountingServers` stands where the aggregator stands and counts real side effects in a file.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

from aiohttp import web
from pydantic import SecretStr

from agent.ports.tools import ApprovalAsked, QuestionAsked, ToolCall, ToolResult, ToolUpdate
from bridge.audit import AuditLog
from bridge.audit.trail import AuditTrail
from bridge.calls import Calls, Parts
from bridge.confirm import Confirmations
from bridge.database import Database
from bridge.definitions import Definitions
from bridge.errors import McpError, NotFound, OutcomeUnknown
from bridge.ledger import Ledger
from bridge.policy import standing
from bridge.ports import JsonObject, OnProgress, OnQuestion, Route
from bridge.protocol import BridgeIdentity, Limits, Outbox
from bridge.settings import LinkSettings, PolicySettings, ToolSettings
from bridge.tunnel import Tunnel
from bus.context import new_id
from bus.deadline import Deadline
from bus.events import Actor, Event
from bus.keys import SessionKey
from bus.message_bus import MemoryBus
from gateway.auth import Authenticator
from gateway.identity.document import Document
from gateway.identity.tokens import Tokens
from gateway.tools.approvals import ApprovalDesk
from gateway.tools.guard import Guard
from gateway.tools.store import Store
from gateway.tunnel.directory import Directory
from gateway.tunnel.endpoint import Endpoint
from gateway.tunnel.socket import BridgeSocket
from gateway.tunnel.tools import BridgeTools

USER = frozenset({"chat", "tools", "tunnel", "approve"})
TOOLS = ("add", "echo", "slow", "big", "twice", "delete_all", "run_shell", "stepwise", "question", "fails", "dies")


class CountingServers:
    """One MCP server `fs`. `add` writes a line into a file, which is the side effect that counts."""

    def __init__(self, effects: Path, rules: ToolSettings) -> None:
        self.effects = effects
        self.rules = rules
        self.description = "does things"
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.deaths = 0
        self.removed = False
        self.cancelled = 0
        self._watchers: list[Callable[[], None]] = []

    def route(self, tool: str, method: str) -> Route | None:
        if method == "resources/read":
            return Route(server="fs", own_name="file", rules=self.rules) if tool == "fs" else None
        own = tool.removeprefix("fs_")
        if own not in TOOLS:
            return None
        return Route(server="fs", own_name=own, rules=self.rules, definition=self.description)

    def lane(self, route: Route) -> None:
        """Every call goes the long way here."""

    def catalogue(self) -> JsonObject:
        tools = [
            {
                "name": f"fs_{own}",
                "server": "fs",
                "description": self.description,
                "inputSchema": {"type": "object"},
                "policy": standing(self.rules, "allow", f"fs_{own}", own),
                "idempotent": own in self.rules.idempotent,
            }
            for own in TOOLS
        ]
        return {"revision": self.description, "servers": [{"name": "fs", "state": "ready"}], "tools": tools}

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed)

    def change(self, description: str) -> None:
        self.description = description
        for changed in self._watchers:
            changed()

    def count(self) -> dict[str, int]:
        """How often each key was really done."""
        counts: dict[str, int] = {}
        if self.effects.exists():
            for line in self.effects.read_text().splitlines():
                counts[line] = counts.get(line, 0) + 1
        return counts

    async def request(
        self, tool: str, method: str, params: JsonObject, timeout: float, on_progress: OnProgress,
        on_question: OnQuestion,
    ) -> JsonObject:  # fmt: skip
        arguments: dict[str, Any] = params.get("arguments") or {}
        if method == "resources/read":
            return {"contents": [{"uri": params["uri"], "text": "resource"}]}
        self.begun.set()
        own = tool.removeprefix("fs_")
        try:
            return await getattr(self, f"_{own}", self._echo)(arguments, on_progress, on_question)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    def _effect(self, key: str) -> None:
        with open(self.effects, "a") as file:
            file.write(key + "\n")

    async def _add(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        self._effect(arguments["key"])
        await asyncio.sleep(arguments.get("seconds", 0))
        return _text(f"added {arguments['key']}")

    async def _twice(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        return await self._add(arguments, on_progress, on_question)

    async def _echo(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        return _text(str(arguments.get("text", "")))

    async def _slow(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        await self.release.wait()
        return _text("released")

    async def _big(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        return _text(arguments.get("letter", "ä") * arguments["chars"])

    async def _stepwise(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        for step in range(arguments["steps"]):
            on_progress({"state": "running", "progress": step, "total": arguments["steps"]})
            await asyncio.sleep(0)
        return _text("stepped")

    async def _question(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        answer = await on_question({"message": "which colour?", "schema": {"type": "object"}})
        return _text(repr(answer))

    async def _fails(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        raise McpError(-32602, "no such colour")

    async def _dies(self, arguments: JsonObject, on_progress: OnProgress, on_question: OnQuestion) -> JsonObject:
        if self.deaths or not self.removed:
            self._effect(arguments["key"])
        if self.deaths > 0:
            self.deaths -= 1
            raise OutcomeUnknown("the server died", effect="unknown")
        if self.removed:
            raise NotFound("there is no tool named fs_dies")
        return _text("survived")


def _text(text: str) -> JsonObject:
    return {"content": [{"type": "text", "text": text}]}


class BridgeRig:
    """A bridge in `folder`: its database outlives `stop` and `start`."""

    def __init__(
        self, folder: Path, url: str, token: str, *, rules: ToolSettings | None = None,
        policy: PolicySettings | None = None, name: str = "laptop", bridge_id: str = "laptop-1",
    ) -> None:  # fmt: skip
        self.folder = folder
        self.url = url
        self.token = token
        self.rules = rules or ToolSettings.model_validate({"idempotent": ["twice", "echo", "big"]})
        self.policy = policy or PolicySettings(default="allow")
        self.name = name
        self.bridge_id = bridge_id
        self.servers = CountingServers(folder / "effects", self.rules)
        self.tunnel: Tunnel
        self.calls: Calls
        self.database: Database
        self.error: BaseException | None = None
        self._task: asyncio.Task[None] | None = None
        self._trail: AuditTrail | None = None

    async def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.database = Database(self.folder / "bridge.db")
        self._trail = AuditTrail(AuditLog(self.folder / "audit.jsonl"))
        outbox = Outbox()
        self.outbox = outbox
        self.confirmations = Confirmations(self.database, lambda: self.policy)
        self.calls = Calls(
            Parts(
                executor=self.servers, ledger=Ledger(self.database), confirmations=self.confirmations,
                definitions=Definitions(self.database), audit=self._trail, outbox=outbox, policy=lambda: self.policy,
            )
        )  # fmt: skip
        self.calls.recover()
        settings = LinkSettings(url=self.url, token=SecretStr(self.token), reconnect_interval=0.05, name=self.name)
        identity = BridgeIdentity(
            bridge_id=self.bridge_id, boot_id=new_id("boot"), name=self.name,
            client={"name": "ai-bridge", "version": "0", "os": "linux"},
        )  # fmt: skip
        self.tunnel = Tunnel(settings, identity, self.calls, self.servers, outbox, healthy_seconds=0)
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def _run(self) -> None:
        try:
            await self.tunnel.run()
        except Exception as error:  # whatever ended it is for the test to look at
            self.error = error

    async def stop(self) -> None:
        """As a crash would: nothing is finished."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
            self._task = None
            await self.calls.close()
            self.database.close()
            assert self._trail is not None
            self._trail.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def connected(self) -> None:
        await until(lambda: self.tunnel.status.state == "connected")


class TokenShop:
    """Tokens for pairing, from the real store."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens = tokens

    def make(self, user: str, name: str) -> tuple[str, str]:
        token, text = self.tokens.create(user, "user", time.time(), scopes=["tunnel"], name=name)
        return token.token_id, text

    async def revoke(self, token_id: str) -> None:
        self.tokens.revoke(token_id)


class GatewayRig:
    """The tunnel's part of a gateway on a fixed loopback port; its home outlives `stop` and `start`."""

    def __init__(self, home: Path, *, limits: Limits | None = None, auth_seconds: float = 10.0) -> None:
        self.home = home
        self.limits = limits
        self.auth_seconds = auth_seconds
        self.port = 0
        self.tokens = Tokens(Document(home / "tokens.json"))
        self.gate = Authenticator(self.tokens)
        self.events: list[Event] = []
        self.directory: Directory
        self.desk: ApprovalDesk
        self.guard: Guard
        self.tools: BridgeTools
        self._runner: web.AppRunner | None = None
        self._ticking: asyncio.Task[None] | None = None

    def token(self, user: str = "alice", role: str = "user", scopes: list[str] | None = None) -> str:
        return self.tokens.create(user, role, time.time(), scopes=scopes)[1]

    @property
    def url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/v1/tunnel"

    async def start(self) -> None:
        bus = MemoryBus()
        bus.attach(self.events.append)
        self.trail = AuditTrail(AuditLog(self.home / "audit.jsonl"))
        self.store = Store(self.home / "approvals.db")
        self.desk = ApprovalDesk(self.store)
        self.directory = Directory(
            home=self.home, gate=self.gate, tokens=TokenShop(self.tokens), events=bus, trail=self.trail,
            limits=self.limits,
        )  # fmt: skip
        self.desk.permissions.keepers = self.directory
        self.tools = BridgeTools(self.directory, self.desk)
        self.guard = Guard([self.tools], desk=self.desk, trail=self.trail, platforms=frozenset({"telegram"}))
        app = web.Application()
        app.add_routes(
            Endpoint(self.directory, self.gate, self.trail, auth_seconds=self.auth_seconds).routes()
        )  # fmt: skip
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self.port or self._runner.addresses[0][1]
        self._ticking = asyncio.get_running_loop().create_task(self.directory.run())

    async def stop(self) -> None:
        """Sockets are cut, nothing is drained."""
        if self._runner is None:
            return
        assert self._ticking is not None
        self.desk.closing()
        self._ticking.cancel()
        await asyncio.wait({self._ticking})
        for bridge in [b for user in ("alice", "bob") for b in self.directory.bridges_of(user)]:
            if bridge.wire is not None:
                cast(BridgeSocket, bridge.wire).ws.abort()
        await self._runner.cleanup()
        self._runner = None
        await self.tools.close()
        await self.directory.close()
        self.store.close()
        self.trail.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def has_tools(self, user: str = "alice") -> None:
        await until(
            lambda: any(b.connected and b.tool_count for b in self.directory.bridges_of(user))
        )  # fmt: skip


def actor(user: str = "alice", role: str = "user", scopes: frozenset[str] = USER) -> Actor:
    return Actor(user=user, role=role, scopes=scopes)


def tool_call(
    name: str, arguments: JsonObject, *, key: str | None = None, who: Actor | None = None,
    session: SessionKey | None = None, repeated: bool = False, attended: bool = True, call_id: str | None = None,
) -> ToolCall:  # fmt: skip
    return ToolCall(
        call_id=call_id or new_id("call"), name=name, arguments=arguments, actor=who or actor(),
        idempotency_key=key or new_id("key"), session=session, repeated=repeated, attended=attended,
    )  # fmt: skip


class Caller:
    """Calls a tool and answers the questions that come up; `updates` are all that was reported."""

    def __init__(self, gateway: GatewayRig, decision: str | None = None) -> None:
        self.gateway = gateway
        self.decision = decision
        self.updates: list[ToolUpdate] = []
        self.asked = asyncio.Event()
        self.questions = asyncio.Event()

    def report(self, update: ToolUpdate) -> None:
        self.updates.append(update)
        if isinstance(update, ApprovalAsked):
            self.asked.set()
        if isinstance(update, QuestionAsked):
            self.questions.set()

    async def call(self, call: ToolCall, seconds: float = 10.0) -> ToolResult:
        return await self.gateway.guard.call(call, deadline=Deadline(seconds), report=self.report)

    @property
    def approval(self) -> ApprovalAsked:
        return next(update for update in reversed(self.updates) if isinstance(update, ApprovalAsked))


async def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def rig(
    folder: Path, *, rules: ToolSettings | None = None, policy: PolicySettings | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[GatewayRig, BridgeRig]]:  # fmt: skip
    """A gateway with alice's bridge connected."""
    os.makedirs(folder / "home", exist_ok=True)
    gateway = GatewayRig(folder / "home", limits=limits)
    await gateway.start()
    bridge = BridgeRig(folder / "bridge", gateway.url, gateway.token(), rules=rules, policy=policy)
    await bridge.start()
    try:
        await bridge.connected()
        await gateway.has_tools()
        yield gateway, bridge
    finally:
        await bridge.stop()
        await gateway.stop()

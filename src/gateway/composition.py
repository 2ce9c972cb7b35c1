"""What is built from what: the whole gateway but its listener and its life, which are `app.py`'s.

Only here are things constructed. Whatever holds a resource is entered on the caller's exit stack, so
that it is let go in the reverse order. The same composition serves requests and, without a listener,
the commands on a stopped gateway.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from agent.accounts import Accounts
from agent.agents import Agents
from agent.commands import CommandRunner
from agent.compaction import Compactor
from agent.llm.demo import DemoModel
from agent.llm.fallback import ModelPool
from agent.loop import AgentLoop
from agent.sessions.jsonl_store import JsonlStore
from agent.supervisor import SupervisorAgent
from bridge.audit import AuditLog
from bus.events import ChatDelta, Event, JsonObject
from bus.message_bus import MemoryBus
from channels.manager import ChannelManager
from channels.ports import Identity, Place
from gateway import __version__
from gateway.database import naming
from gateway.handlers.access import Access
from gateway.handlers.administration import Administration
from gateway.handlers.asking import AskingMethods
from gateway.handlers.backup import BackupMethods
from gateway.handlers.belongings import Belongings
from gateway.handlers.chat import ChatMethods
from gateway.handlers.deleting import Deleting
from gateway.handlers.dispatch import Dispatcher
from gateway.handlers.endings import Outcomes
from gateway.handlers.house import HouseMethods
from gateway.handlers.letting_go import LettingGo
from gateway.handlers.moves import Moves
from gateway.handlers.sessions import SessionMethods
from gateway.handlers.tokens import TokenMethods
from gateway.handlers.tools import ToolMethods
from gateway.handlers.users import UserMethods
from gateway.hub import Hub
from gateway.identity.gatekeeper import Gate
from gateway.identity.media import MediaFolder
from gateway.limits import MessageRate
from gateway.media_uses import MediaUses
from gateway.metered_bus import MeteredBus
from gateway.network import web_url
from gateway.observability.figures import figures_of
from gateway.observability.metrics import Metrics
from gateway.people import People
from gateway.schedules import Schedules
from gateway.settings import Loaded
from gateway.sockets import Sockets
from gateway.speech import SpeechToText
from gateway.started import StartedTurns
from gateway.state_files import AdminToken
from gateway.toolbox import Toolbox, open_toolbox


class Phase:
    """Whether messages are taken in; `url` is where people find the web chat."""

    def __init__(self, url: str) -> None:
        self.ready = False
        self.url = url


@dataclass(slots=True)
class Gateway:
    """Everything, as the listener and the life of the process need it."""

    loaded: Loaded
    phase: Phase
    people: People
    admin: AdminToken
    bus: MemoryBus
    store: JsonlStore
    model: ModelPool
    loop: AgentLoop
    hub: Hub
    sockets: Sockets
    started: StartedTurns
    channels: ChannelManager
    media: MediaFolder
    access: Access
    chat: ChatMethods
    house: HouseMethods
    dispatcher: Dispatcher
    moves: Moves
    toolbox: Toolbox
    schedules: Schedules
    supervisor: SupervisorAgent
    agents: Agents
    metrics: Metrics
    accounts: Accounts

    def observe(self, event: Event) -> None:
        """What the gateway itself notes of the bus's events; a delta is none of them. Readers get theirs first."""
        if type(event) is not ChatDelta:
            asyncio.get_running_loop().call_soon(self._note, event)

    def _note(self, event: Event) -> None:
        self.metrics.observe(event)
        self.started.ended(event)
        self.schedules.observe(event)

    def status(self) -> JsonObject:
        """`/status`."""
        turns = self.loop.stats()
        return {
            "version": __version__,
            "uptime": self.house.uptime,
            "uptime_seconds": self.house.uptime,
            "ready": self.phase.ready,
            "connections": len(self.sockets),
            "channels": self.channels.states(),
            "bridges": self.toolbox.directory.stats(),
            "mcp_servers": self.toolbox.cloud.status(),
            "tools": {"calls": self.toolbox.guard.calls, "refused": self.toolbox.guard.refused},
            "modes": dict(self.supervisor.choices),
            "queues": turns | {"waiting_for_disk": self.bus.waiting},
            "models": list(self.model.describe()),
            "model_pool": {"retries": self.model.retries, "failovers": self.model.failovers},
            "hub": self.hub.stats(),
        }


class Deliveries:
    """The channels' failed deliveries as the methods ask for them."""

    def __init__(self, channels: ChannelManager) -> None:
        self._channels = channels

    async def list_deliveries(self) -> list[JsonObject]:
        return await self._channels.deliveries()

    async def resend(self, delivery_id: str) -> bool:
        return await self._channels.resend(delivery_id)


async def compose(loaded: Loaded, stack: AsyncExitStack) -> Gateway:
    """Build it. Raises FolderInUse, CorruptDocument, OSError and what the stores raise."""
    settings, home = loaded.settings, loaded.home
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    store = await stack.enter_async_context(JsonlStore(home / "sessions"))
    with naming(home / "accounts.db"):
        accounts = await stack.enter_async_context(Accounts(home / "accounts.db", settings.budgets))
    audit = AuditLog(home / "audit.jsonl", kept_parts=settings.logging.audit_files)
    stack.callback(audit.close)
    people = People.open(home, settings.auth)
    admin = AdminToken(home, people.tokens, people.users)
    phase = Phase(web_url(loaded.settings.server, loaded.settings.server.port))
    platforms = frozenset(settings.channels.names())

    # the agent
    bus = MemoryBus()
    server = settings.server
    media = MediaFolder(home / "media", max_bytes=server.max_media_bytes, per_user=server.max_media_bytes_per_user)
    uses = MediaUses(home / "media.db", media, store)
    stack.callback(uses.close)
    stack.callback(bus.attach(uses.observe, deltas=False))
    rate = MessageRate(settings.limits.messages_per_minute)
    metered = MeteredBus(bus, rate, known=store.duplicate, taken=uses.taken)
    model = ModelPool(settings.models, DemoModel())
    stack.push_async_callback(model.close)
    toolbox = await open_toolbox(
        loaded, stack, people=people, audit=audit, events=bus, platforms=platforms, url=lambda: phase.url
    )
    tools, approvals = toolbox.guard, toolbox.desk
    gate = Gate(settings.channels, people.users, people.links, people.pairing, preferences=people.preferences)
    runner = CommandRunner(
        store=store, sessions=store, tools=tools, approvals=approvals, administration=_Later(), linker=_Later(),
        memory=toolbox.memory,
    )  # fmt: skip
    agents = Agents(settings.agents, settings.bindings)
    supervisor = SupervisorAgent(
        model, tools, settings.agent, media=media, persona=toolbox.personas.text, agents=agents
    )
    loop = AgentLoop(
        bus=bus, store=store, supervisor=supervisor,
        limits=settings.limits, settings=settings.agent, run_command=runner, platforms=platforms,
        open_turns=store.open_turns, accountant=accounts,
        compactor=Compactor(model, accounts) if settings.agent.compaction else None,
    )  # fmt: skip
    # the channels
    speech = SpeechToText(settings.speech_to_text) if settings.speech_to_text else None
    if speech is not None:
        stack.push_async_callback(speech.close)
    channels = ChannelManager(
        settings.channels, folder=home / "channels", bus=metered, gatekeeper=gate, media=media, desk=approvals,
        transcriber=speech, answers=Outcomes(store), agent_of=_routed(agents),
    )  # fmt: skip
    stack.push_async_callback(channels.close)

    # the methods
    hub = Hub()
    moves = Moves(store, loop.update, hub.expel, platforms)
    gate.tell(moves.begin)
    sockets = Sockets(
        settings.server.max_connections, people.authenticator, heartbeat=settings.server.heartbeat_seconds
    )
    started = StartedTurns()
    access = Access(store, platforms)
    letting_go = LettingGo(
        tokens=people.tokens,
        sockets=sockets,
        started=started,
        turns=loop,
        sessions=store,
        bridges=toolbox.directory,
    )
    chat = ChatMethods(
        inbound=metered, hub=hub, access=access, sessions=store, turns=loop, media=media, started=started,
        language=people.preferences.language,
    )  # fmt: skip
    tool_calls = ToolMethods(tools=tools, kept=toolbox.kept_calls, events=bus, seconds=settings.agent.tool_seconds)
    deleting = Deleting(loop, approvals, uses)
    belongings = Belongings(store, deleting, (toolbox.forget, tool_calls.forget, media.forget, accounts.forget))
    users = UserMethods(
        users=people.users, links=people.links, pairing=people.pairing, logins=people.logins, gate=gate,
        preferences=people.preferences, letting_go=letting_go, belongings=belongings, audit=audit,
        url=lambda: phase.url,
    )  # fmt: skip
    house = HouseMethods(
        authenticator=people.authenticator, deliveries=Deliveries(channels), audit=audit, ready=lambda: phase.ready,
        limits=_told_limits(loaded),
    )  # fmt: skip
    asking = AskingMethods(asking=toolbox.desk, bridges=toolbox.directory, usage=accounts, audit=audit)
    families = (
        house, chat, SessionMethods(hub=hub, access=access, sessions=store, turns=loop, deleting=deleting),
        tool_calls, asking,
        TokenMethods(
            tokens=people.tokens, users=people.users, letting_go=letting_go, audit=audit, rotated=admin.rotated
        ),
        users, BackupMethods(store=store, home=home, audit=audit),
    )  # fmt: skip
    dispatcher = Dispatcher((row for family in families for row in family.table()), people.authenticator.recheck)
    house.knows(dispatcher)
    administration = Administration(
        users=users, house=house, asking=asking, gate=gate, preferences=people.preferences, channels=channels,
        platforms=platforms, lending=toolbox.desk, models=model.describe,
    )  # fmt: skip
    schedules = Schedules(
        toolbox.scheduler, store, store, submit=bus.submit, configure=loop.configure, tell=loop.tell,
        actor_of=people.actor_of,
    )  # fmt: skip
    runner.administration = runner.linker = administration
    metrics = Metrics(version=__version__)
    gateway = Gateway(
        loaded=loaded, phase=phase, people=people, admin=admin, bus=bus, store=store, model=model, loop=loop, hub=hub,
        sockets=sockets, started=started, channels=channels, media=media, access=access, chat=chat, house=house,
        dispatcher=dispatcher, moves=moves, toolbox=toolbox, schedules=schedules, supervisor=supervisor, agents=agents,
        metrics=metrics, accounts=accounts,
    )  # fmt: skip
    metrics.offer(lambda: figures_of(gateway.status()))
    return gateway


def _routed(agents: Agents) -> Callable[[Place, Identity], str]:
    """Which agent answers somebody on a platform, by the bindings in force."""

    def agent_of(place: Place, identity: Identity) -> str:
        group = (place.parent or place.chat) if place.kind == "group" else ""
        found = agents.route(channel=place.channel, account=place.account, peer=identity.peer, group=group)
        return found.agent_id

    return agent_of


class _Later:
    """Stands where the commands' administration will be put: the two need each other."""

    async def command(self, *args: object) -> str:
        raise AssertionError("not composed yet")

    async def link(self, *args: object) -> str:
        raise AssertionError("not composed yet")


def _told_limits(loaded: Loaded) -> JsonObject:
    """What `connect` tells about limits."""
    server, limits = loaded.settings.server, loaded.settings.limits
    return {
        "max_message_bytes": server.max_message_bytes,
        "max_media_bytes": server.max_media_bytes,
        "max_batch": 50,
        "messages_per_minute": limits.messages_per_minute,
        "queued_messages_per_session": limits.queued_messages_per_session,
        "heartbeat_seconds": server.heartbeat_seconds,
    }


def start_code(gateway: Gateway, seconds: float) -> str:
    """A one-time login code for the owner."""
    return gateway.people.logins.create("admin", time.time(), seconds=seconds)

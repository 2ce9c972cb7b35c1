"""Many MCP servers as one catalogue, and every call to the server it belongs to.

For the tunnel (`ports.Executor`) and the local commands:

    aggregator = Aggregator(settings.mcp_servers, default=settings.policy.default, groups=groups, memory=memory)
    async with TaskGroup() as tasks:
        tasks.create_task(aggregator.run())          # starts the servers side by side, until cancelled
        await aggregator.settled()                   # none of them is starting any more
        aggregator.catalogue()                       # the payload of TOOLS, with a revision
        stop = aggregator.watch(changed)             # called after each new revision
        result = await aggregator.request("fs_read_file", "tools/call", {"name": …, "arguments": {…}}, timeout=30)
        aggregator.apply(new_settings)               # hot reload: only what changed is restarted

Public names are prefixed and routed by a table. The aggregator decides nothing about permission: `route` says which
rules belong to a name, and whether its definition changed; whoever calls `request` has asked the policy before.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from bridge.catalogue import assemble, progress_payload, question_payload
from bridge.errors import NotFound, ToolDenied
from bridge.lane import Lane
from bridge.offered import Offered, Pins
from bridge.policy import idempotent
from bridge.ports import JsonObject, Relayed, Route
from bridge.servers.definitions import ToolDefinition
from bridge.servers.groups import ProcessGroups
from bridge.servers.jsonrpc import Reply
from bridge.servers.memory import Memory
from bridge.servers.owner import ServerOwner
from bridge.settings import McpServerSettings, PolicyName, ToolSettings

_METHODS = {"tools/call": ("name", "arguments"), "prompts/get": ("name", "arguments"), "resources/read": ("uri",)}


class Aggregator:
    """All servers of one configuration. Everything but `run` may be called from any task of its loop."""

    def __init__(
        self, servers: Sequence[McpServerSettings], *, default: PolicyName, groups: ProcessGroups,
        memory: Memory | None = None, pins: Pins | None = None,
    ) -> None:  # fmt: skip
        self._default = default
        self._groups = groups
        self._memory = memory or Memory()
        self._offered = Offered(self._memory, pins or self._memory)
        self._routes: dict[str, Route] = {}
        self._owners: dict[str, ServerOwner] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._group: asyncio.TaskGroup | None = None
        self._left_out: list[str] = []
        self._payload: JsonObject = {"revision": 0, "servers": [], "tools": [], "resources": [], "prompts": []}
        self._watchers: list[Callable[[], None]] = []
        self._due: asyncio.Handle | None = None
        self._apply(servers)
        self._rebuild()

    # ------------------------------------------------------------ life

    async def run(self) -> None:
        """Keep all servers alive until cancelled; returns when each of their processes has ended."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            for owner in self._owners.values():
                self._start(owner)
            self._rebuild()
            try:
                await asyncio.Event().wait()
            finally:
                self._group = None

    def apply(self, servers: Sequence[McpServerSettings], *, default: PolicyName | None = None) -> list[str]:
        """Take a new configuration: stop what is gone, restart what changed, leave the rest alone.

        Returns the names of the servers that were stopped, started or restarted.
        """
        if default is not None:
            self._default = default
        return self._apply(servers)

    def _apply(self, servers: Sequence[McpServerSettings]) -> list[str]:
        wanted = {server.name: server for server in servers if server.enabled}
        touched = []
        for name in [name for name in self._owners if name not in wanted]:
            self._stop(name)
            touched.append(name)
        owners: dict[str, ServerOwner] = {}
        for name, settings in wanted.items():
            owner = self._owners.get(name)
            if owner is not None and _same_process(owner.settings, settings):
                owner.settings = settings
            else:
                if owner is not None:
                    self._stop(name)
                owner = self._make(settings)
                touched.append(name)
            owners[name] = owner
        self._owners = owners
        self._routes = {}
        self._offered.keep_only(wanted)
        self._memory.keep_only(set(wanted))
        for name in touched:
            if self._group is not None and name in owners:
                self._start(owners[name])
        self._schedule()
        return touched

    def _make(self, settings: McpServerSettings) -> ServerOwner:
        owner = ServerOwner(settings, self._groups, changed=self._schedule)
        owner.offers.tools = self._memory.tools(settings.name)
        return owner

    def _start(self, owner: ServerOwner) -> None:
        assert self._group is not None
        before = self._tasks.get(owner.name)
        if owner.settings.lazy and not owner.tools:
            owner.learn()
        self._tasks[owner.name] = self._group.create_task(_after(before, owner.run), name=f"mcp:{owner.name}")

    def _stop(self, name: str) -> None:
        if (task := self._tasks.get(name)) is not None:
            task.cancel()

    async def settled(self) -> None:
        """Wait until no server is starting any more."""
        await asyncio.gather(*(owner.settled() for owner in self._owners.values()))
        if self._due is not None:
            self._rebuild()

    # ------------------------------------------------------------ calls

    async def request(
        self, tool: str, method: str, params: JsonObject, timeout: float | None = None,
        on_progress: Callable[[JsonObject], None] | None = None,
        on_question: Callable[[JsonObject], Awaitable[JsonObject]] | None = None,
    ) -> JsonObject:  # fmt: skip
        """Run one MCP request and return its result; see `ports.Executor` for the errors."""
        reply = await self.relay(tool, method, params, timeout, on_progress, on_question)
        return reply.value if reply.raw is None else Relayed(reply.value, reply.raw)

    async def relay(
        self, tool: str, method: str, params: JsonObject, timeout: float | None = None,
        on_progress: Callable[[JsonObject], None] | None = None,
        on_question: Callable[[JsonObject], Awaitable[JsonObject]] | None = None,
    ) -> Reply:  # fmt: skip
        """The same, with the result's JSON as the server wrote it beside its value.

        `tool` is a public name, for `resources/read` a server's. Of `params` only what the method knows is passed
        on: nothing that comes from afar can name a command, an argument of a process, or its environment.
        """
        keys = _METHODS.get(method)
        if keys is None:
            raise ToolDenied(f"{method[:60]} is not something this bridge does")
        route = self.route(tool, method)
        if route is None:
            raise NotFound(f"there is no {'server' if method == 'resources/read' else 'tool'} named {tool[:80]}")
        passed = {key: params[key] for key in keys if key in params}
        if "name" in keys:
            passed["name"] = route.own_name
        owner = self._owners[route.server]
        repeatable = method != "tools/call" or idempotent(route.rules, route.own_name)
        return await owner.request(
            method, passed, timeout=timeout, repeatable=repeatable,
            on_progress=None if on_progress is None else lambda news: on_progress(progress_payload(news)),
            on_question=None if on_question is None else lambda question: on_question(question_payload(question)),
            on_wait=None if on_progress is None else lambda state: on_progress({"state": state}),
        )  # fmt: skip

    def route(self, tool: str, method: str = "tools/call") -> Route | None:
        """Where a public name leads, or None. The same object until a tool or a rule changes."""
        if method == "tools/call" and (known := self._routes.get(tool)) is not None:
            return known
        if method == "resources/read":
            owner = self._owners.get(tool)
            return None if owner is None else Route(server=tool, own_name="", rules=owner.settings.tools)
        found = self._offered.find(tool, prompt=method == "prompts/get")
        if found is None or found[0] not in self._owners:
            return None
        server, own_name = found
        rules = self._owners[server].settings.tools
        if method == "prompts/get":
            return Route(server=server, own_name=own_name, rules=rules)
        definition = self._offered.definitions.get(tool)
        if definition is None:
            return None
        route = Route(server=server, own_name=own_name, rules=rules, definition=definition.fingerprint)
        self._routes[tool] = route
        return route

    def lane(self, route: Route) -> Lane | None:
        """A way to the server of `route` where nothing has to be waited for; see `ports.Executor`."""
        lane = self._owners[route.server].requests.lane()
        return None if lane is None else Lane(lane, route.own_name)

    def changed(self, tool: str) -> bool:
        """Whether a tool is not what the person agreed to."""
        return tool in self._offered.changed_tools

    def agree(self, tool: str) -> None:
        """A person has looked at a tool whose definition changed, and wants it as it is. Raises NotFound."""
        definition = self._offered.definitions.get(tool)
        if definition is None:
            raise NotFound(f"there is no tool named {tool[:80]}")
        self._offered.pins.agree(tool, definition.fingerprint)
        self.refresh()

    def refresh(self) -> None:
        """Look at the policies again: what was agreed to, or the rules, may have changed."""
        self._schedule()

    def definition(self, tool: str) -> ToolDefinition | None:
        """A tool with its whole description, for a person who decides."""
        return self._offered.definitions.get(tool)

    def restart(self, server: str) -> None:
        """Start a server afresh, also one that was given up. Raises NotFound."""
        if server not in self._owners:
            raise NotFound(f"there is no server named {server[:80]}")
        self._owners[server].restart()

    # ------------------------------------------------------------ the catalogue

    def catalogue(self) -> JsonObject:
        """The payload of TOOLS. Not to be changed by the caller."""
        if self._due is not None:
            self._rebuild()
        return self._payload

    def problems(self) -> list[str]:
        """What was left out of the catalogue, for people."""
        own = [f"{owner.name}: {p.what}: {p.reason}" for owner in self._owners.values() for p in owner.offers.problems]
        return own + self._offered.refused + self._left_out

    @property
    def owners(self) -> Sequence[ServerOwner]:
        """The servers, for status and doctor."""
        return list(self._owners.values())

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` after each new revision; the result ends that."""
        self._watchers.append(changed)
        return lambda: self._watchers.remove(changed) if changed in self._watchers else None

    def _schedule(self) -> None:
        """Many servers change at one moment when they start: one new revision for all of them."""
        if self._due is None and self._group is not None:
            self._due = asyncio.get_running_loop().call_soon(self._rebuild)

    def _rebuild(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._routes = {}
        owners = self._owners.values()
        self._offered.begin()
        payload, self._left_out = assemble(
            owners,
            [entry for owner in owners for entry in self._offered.tools_of(owner, self._default)],
            [{**item, "server": owner.name} for owner in owners for item in owner.offers.resources],
            [entry for owner in owners for entry in self._offered.prompts_of(owner)],
        )
        self._memory.save()
        if payload != {key: value for key, value in self._payload.items() if key != "revision"}:
            self._payload = {"revision": self._payload["revision"] + 1, **payload}
            for changed in list(self._watchers):
                changed()


async def _after(before: asyncio.Task[None] | None, work: Callable[[], Awaitable[None]]) -> None:
    """A restarted server begins when the process before it has ended: it may hold the same port or file."""
    if before is not None:
        await asyncio.wait([before])
    await work()


def _same_process(one: McpServerSettings, other: McpServerSettings) -> bool:
    """Whether a change of settings leaves the running server as it is: rules about tools are not its business."""
    bare = {"tools": ToolSettings(), "timeout": 1.0}
    return one.model_copy(update=bare) == other.model_copy(update=bare)

"""Using the person's servers from the terminal, with no gateway at all: `check`, `tools`, `call`.

Below `cli/`; above the aggregator. `call` keeps the policy and the audit log exactly as a call from afar does.
"""

import asyncio
import difflib
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from bridge.aggregator import Aggregator
from bridge.audit import AuditLog
from bridge.database import Database
from bridge.definitions import Definitions
from bridge.errors import BridgeError, McpError, NotFound, ToolDenied
from bridge.loading import Loaded
from bridge.offered import Pins
from bridge.policy import Verdict, decide, strictest
from bridge.protocol.canonical import arguments_hash
from bridge.servers.groups import ProcessGroups
from bridge.servers.memory import Memory
from bridge.servers.names import public_name
from bridge.servers.owner import ServerOwner
from bridge.settings import McpServerSettings

Say = Callable[[str], None]


class NobodyToAsk(ToolDenied):
    """The policy asks, and there is no terminal to ask at: use --yes."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a person is shown before he says yes or no."""

    tool: str
    risk: str
    description: str
    arguments: dict[str, Any]


Ask = Callable[[Asked], bool]


@asynccontextmanager
async def local_servers(
    loaded: Loaded, servers: tuple[McpServerSettings, ...], say: Say, *, memory: Memory | None = None,
    pins: Pins | None = None,
) -> AsyncIterator[Aggregator]:  # fmt: skip
    """The servers, started side by side for as long as the block lasts; what they do is said as it happens."""
    groups = ProcessGroups()
    default = loaded.settings.policy.default
    aggregator = Aggregator(servers, default=default, groups=groups, memory=memory, pins=pins)
    began = time.monotonic()
    shown: dict[str, str] = {}

    def tell() -> None:
        for owner in aggregator.owners:
            text = f"{owner.state}, {len(owner.tools)} tools" if owner.state == "ready" else owner.state
            text += f" ({owner.error})" if owner.error else ""
            if shown.get(owner.name) != text and owner.state != "stopped":
                shown[owner.name] = text
                say(f"{owner.name}: {text} [{time.monotonic() - began:.1f} s]")

    aggregator.watch(tell)
    task = asyncio.get_running_loop().create_task(aggregator.run(), name="servers")
    try:
        tell()
        await asyncio.sleep(0)
        yield aggregator
    finally:
        aggregator.apply([])
        task.cancel()
        await asyncio.wait([task])
        groups.close()


async def check(loaded: Loaded, say: Say) -> list[tuple[str, str]]:
    """Start every server; `(name, reason)` of those that did not get ready."""
    async with local_servers(loaded, loaded.settings.mcp_servers, say) as aggregator:
        for owner in aggregator.owners:
            owner.learn()
        await asyncio.gather(*(_first_verdict(owner) for owner in aggregator.owners))
        failed = []
        for owner in aggregator.owners:
            if owner.state in ("failed", "starting"):
                failed.append((owner.name, owner.error or "did not start"))
        for problem in aggregator.problems():
            say(f"left out: {problem}")
        return failed


async def _first_verdict(owner: ServerOwner) -> None:
    """Until a server is ready, or its first start has failed: a check does not wait for the fifth."""
    await owner.settled(first=True)


async def list_tools(loaded: Loaded, say: Say) -> dict[str, Any]:
    """The catalogue as the gateway would be told it."""
    async with local_servers(loaded, loaded.settings.mcp_servers, say) as aggregator:
        for owner in aggregator.owners:
            owner.learn()
        await asyncio.gather(*(_first_verdict(owner) for owner in aggregator.owners))
        return aggregator.catalogue()


async def call(
    loaded: Loaded, tool: str, arguments: dict[str, Any], *, yes: bool, ask: Ask | None, say: Say,
    question: Callable[[dict[str, Any]], dict[str, Any]] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Call one tool under the person's policy and return the result.

    Raises NotFound, ToolDenied (NobodyToAsk where `ask` is None and `yes` was not given), AuditFailed, McpError and
    whatever the server does to a call.
    """
    servers = likely(loaded.settings.mcp_servers, tool)
    audit = AuditLog(loaded.folder / "audit.jsonl")
    database = Database(loaded.folder / "ledger.sqlite")
    try:
        async with local_servers(loaded, servers, say, pins=Definitions(database)) as aggregator:
            await _listed(aggregator, tool)
            _permit(loaded, aggregator, tool, arguments, yes, ask, audit)
            call_id = f"local-{time.time_ns():x}"
            record: dict[str, Any] = {
                "call_id": call_id,
                "tool": tool,
                "user": "local",
                "arguments_sha256": arguments_hash(arguments),
            }
            await asyncio.to_thread(partial(audit.append, "tool.intent", **record))
            try:
                result = await _run(aggregator, tool, arguments, say, question)
            except BridgeError as error:
                audit.append(
                    "tool.outcome", sync=False, call_id=call_id, kind="ERROR", code=error.code, effect=error.effect
                )
                raise
            audit.append("tool.outcome", sync=False, call_id=call_id, kind="MCP_RESPONSE", effect="done")
            return result
    finally:
        database.close()
        audit.close()


async def _run(
    aggregator: Aggregator, tool: str, arguments: dict[str, Any], say: Say,
    question: Callable[[dict[str, Any]], dict[str, Any]] | None,
) -> dict[str, Any]:  # fmt: skip
    def news(payload: dict[str, Any]) -> None:
        if payload.get("state") == "running":
            of = f"/{payload['total']:g}" if "total" in payload else ""
            say(f"{tool}: {payload['progress']:g}{of} {payload.get('message', '')}".rstrip())

    async def asked(payload: dict[str, Any]) -> dict[str, Any]:
        if question is None:
            return {"action": "cancel"}
        return await asyncio.to_thread(question, payload)

    try:
        return await aggregator.request(tool, "tools/call", {"name": tool, "arguments": arguments}, None, news, asked)
    except McpError as error:
        return {"content": [{"type": "text", "text": error.message}], "isError": True}


def likely(servers: tuple[McpServerSettings, ...], tool: str) -> tuple[McpServerSettings, ...]:
    """The servers that can have a tool of this public name: the others need not be started for one call."""
    enabled = tuple(server for server in servers if server.enabled)
    # A shortened name keeps the beginning of the plain one; nothing else is concluded from a name.
    some = tuple(server for server in enabled if tool.startswith(public_name(server.name, "")[:40].rstrip("_")))
    return some or enabled


async def _listed(aggregator: Aggregator, tool: str) -> None:
    """Wait until the tool is known by a server that runs, or none of them starts any more."""
    waits = [asyncio.ensure_future(_first_verdict(owner)) for owner in aggregator.owners]
    try:
        while (pending := [wait for wait in waits if not wait.done()]) and not _ready(aggregator, tool):
            await asyncio.wait(pending, timeout=0.05, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    if aggregator.route(tool) is None:
        names = [entry["name"] for entry in aggregator.catalogue()["tools"]]
        close = difflib.get_close_matches(tool, names, 1)
        failed = [f"{o.name}: {o.error}" for o in aggregator.owners if o.error]
        hint = f" (did you mean {close[0]}?)" if close else f" ({'; '.join(failed)})" if failed else ""
        raise NotFound(f"there is no tool named {tool[:80]}{hint}")


def _ready(aggregator: Aggregator, tool: str) -> bool:
    route = aggregator.route(tool)
    return route is not None and any(o.name == route.server and o.state == "ready" for o in aggregator.owners)


def _permit(
    loaded: Loaded, aggregator: Aggregator, tool: str, arguments: dict[str, Any], yes: bool, ask: Ask | None,
    audit: AuditLog,
) -> None:  # fmt: skip
    """Return where the call may run."""
    route = aggregator.route(tool)
    assert route is not None
    verdict = decide(route.rules, loaded.settings.policy.default, tool, route.own_name, arguments)
    if aggregator.changed(tool):
        verdict = Verdict(strictest(verdict.policy, "ask"), "the tool is not what it was when it was allowed")
    if verdict.policy == "allow":
        return
    decision = "deny"
    if verdict.policy == "ask" and yes:
        decision = "allow_once"
    elif verdict.policy == "ask" and ask is not None:
        definition = aggregator.definition(tool)
        full = definition.full_description if definition else ""
        decision = "allow_once" if ask(Asked(tool, verdict.reason, full, arguments)) else "deny"
    audit.append("tool.confirmed", tool=tool, decision=decision, by="terminal", reason=verdict.reason)
    if decision == "allow_once":
        aggregator.agree(tool)
        return
    if verdict.policy == "ask" and ask is None:
        raise NobodyToAsk(f"{tool} is asked for ({verdict.reason}), and nobody is here: use --yes")
    raise ToolDenied(verdict.reason if verdict.policy == "deny" else "not allowed")


def text_of(result: dict[str, Any]) -> str:
    """A result as the terminal shows it: its texts, other blocks by kind and size."""
    parts = []
    for block in result.get("content") or []:
        if block.get("type") == "text":
            parts.append(str(block.get("text", "")))
        elif block.get("type") == "resource" and isinstance(block.get("resource"), dict):
            resource = block["resource"]
            parts.append(str(resource.get("text") or f"[resource {resource.get('uri', '')}]"))
        elif block.get("type") == "resource_link":
            parts.append(f"[{block.get('uri', '')}]")
        else:
            size = len(str(block.get("data", ""))) * 3 // 4
            parts.append(f"[{block.get('type')} {block.get('mimeType', '')} {size} bytes]")
    if not parts and result.get("structuredContent") is not None:
        parts.append(json.dumps(result["structuredContent"], ensure_ascii=False, indent=2))
    return "\n".join(parts)

"""What one server offers: its tools, resources and prompts, read from its listings. Below `owner.py`."""

import asyncio
import logging
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from bridge.servers.definitions import Problem, ToolDefinition, read_listed, read_tools
from bridge.servers.jsonrpc import JsonObject
from bridge.servers.session import Session

_MANY = 500
"""Listings of more tools are read in a thread: other servers' calls go on meanwhile."""
EVERYTHING = frozenset({"tools", "resources", "prompts"})


@dataclass(slots=True)
class Offers:
    """The latest of each listing, and what was left out of it."""

    tools: list[ToolDefinition] = field(default_factory=list)
    resources: list[JsonObject] = field(default_factory=list)
    prompts: list[JsonObject] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    async def look(self, session: Session, stale: Set[str], log: logging.Logger) -> None:
        """Read the listings named in `stale` anew. Raises what `Session.listing` raises; then nothing is lost."""
        declared: Any = session.capabilities
        problems: list[Problem] = []
        if "tools" in stale:
            # servers that forget to declare their tools are asked all the same
            listed = await session.listing("tools/list", "tools")
            self.tools, found = (
                await asyncio.to_thread(read_tools, listed) if len(listed) > _MANY else read_tools(listed)
            )
            problems += found
        if "resources" in stale and "resources" in declared:
            items = await session.listing("resources/list", "resources")
            items += await session.listing("resources/templates/list", "resourceTemplates")
            self.resources, found = read_listed(items, "uri", "uriTemplate")
            problems += found
        if "prompts" in stale and "prompts" in declared:
            self.prompts, found = read_listed(await session.listing("prompts/list", "prompts"), "name")
            problems += found
        for problem in problems:
            if problem not in self.problems:
                log.warning("left out %s: %s", problem.what, problem.reason)
        self.problems = problems

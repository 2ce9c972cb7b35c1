"""What one server offers: its tools, resources and prompts, read from its listings. Below `owner.py`."""

import asyncio
import logging
from collections.abc import Set
from dataclasses import dataclass, field
from typing import Any

from bridge.errors import McpError, ToolResultInvalid
from bridge.servers.definitions import Problem, ToolDefinition, one_line, read_listed, read_tools
from bridge.servers.jsonrpc import JsonObject
from bridge.servers.session import Session

_MANY = 500
"""Listings of more tools are read in a thread: other servers' calls go on meanwhile."""
_MOST_SAID = 20
EVERYTHING = frozenset({"tools", "resources", "prompts"})


@dataclass(slots=True)
class Offers:
    """The latest of each listing, and what was left out of it."""

    tools: list[ToolDefinition] = field(default_factory=list)
    resources: list[JsonObject] = field(default_factory=list)
    prompts: list[JsonObject] = field(default_factory=list)
    left_out: dict[str, list[Problem]] = field(default_factory=dict)

    @property
    def problems(self) -> list[Problem]:
        """What was left out of all listings."""
        return [problem for problems in self.left_out.values() for problem in problems]

    async def look(self, session: Session, stale: Set[str], log: logging.Logger) -> None:
        """Read the listings named in `stale` anew. Raises what `Session.listing` raises; then nothing is lost."""
        declared: Any = session.capabilities
        before = set(self.problems)
        if "tools" in stale:
            # servers that forget to declare their tools are asked all the same
            listed = await session.listing("tools/list", "tools")
            self.tools, self.left_out["tools"] = (
                await asyncio.to_thread(read_tools, listed) if len(listed) > _MANY else read_tools(listed)
            )
        if "resources" in stale and "resources" in declared:
            items, failed = await _others(session, "resources/list", "resources")
            templates, no_templates = await _others(session, "resources/templates/list", "resourceTemplates")
            self.resources, found = read_listed([*items, *templates], "uri", "uriTemplate")
            self.left_out["resources"] = failed + no_templates + found
        if "prompts" in stale and "prompts" in declared:
            items, failed = await _others(session, "prompts/list", "prompts")
            self.prompts, found = read_listed(items, "name")
            self.left_out["prompts"] = failed + found
        new = [problem for problem in dict.fromkeys(self.problems) if problem not in before]
        for problem in new[:_MOST_SAID]:
            log.warning("left out %s: %s", problem.what, problem.reason)
        if len(new) > _MOST_SAID:
            log.warning("left out %d more", len(new) - _MOST_SAID)


async def _others(session: Session, method: str, key: str) -> tuple[list[Any], list[Problem]]:
    """A listing that may fail: nobody has to do without the tools for it."""
    try:
        return await session.listing(method, key), []
    except (McpError, ToolResultInvalid) as error:
        return [], [Problem(method, one_line(error.message))]

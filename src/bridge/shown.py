"""What all servers offer, as it is shown: under public names, each tool with its policy.

`aggregator.py` has it built anew after each change, and routes by its names; `catalogue.py` keeps the whole within its
bounds. A tool whose definition is not the one that the person agreed to is asked for, whatever the rules say.
"""

import logging
from collections.abc import Collection
from typing import Any, Protocol

from bridge.catalogue import assemble
from bridge.policy import idempotent, standing, strictest
from bridge.ports import JsonObject
from bridge.servers.definitions import ToolDefinition
from bridge.servers.names import NameTable
from bridge.servers.owner import ServerOwner
from bridge.settings import PolicyName

_LOG = logging.getLogger("bridge.aggregator")


class Pins(Protocol):
    """Which definition of a tool the person has agreed to: `Memory`, or the bridge's database."""

    def changed(self, tool: str, digest: str) -> bool: ...

    def agree(self, tool: str, digest: str) -> None: ...


class Shown:
    """`definitions` by public name, the `changed` ones that nobody has looked at since, and what was `refused`."""

    def __init__(self, pins: Pins) -> None:
        self.definitions: dict[str, ToolDefinition] = {}
        self.changed: set[str] = set()
        self.refused: list[str] = []
        self._pins = pins
        self._tools = NameTable()
        self._prompts = NameTable()

    def tool(self, name: str) -> tuple[str, str] | None:
        """The server of a public name, and the tool's own name there."""
        return self._tools.find(name)

    def prompt(self, name: str) -> tuple[str, str] | None:
        """The same for a prompt."""
        return self._prompts.find(name)

    def keep_only(self, servers: Collection[str]) -> None:
        """Names of other servers are free again."""
        self._tools.keep_only(servers)
        self._prompts.keep_only(servers)

    def agree(self, name: str, definition: ToolDefinition) -> None:
        """The person wants this tool as it is."""
        self._pins.agree(name, definition.fingerprint)

    def rebuild(self, owners: Collection[ServerOwner], default: PolicyName) -> JsonObject:
        """The payload of TOOLS, without its revision."""
        self.refused = []
        self.definitions = {}
        payload, problems = assemble(
            owners,
            [entry for owner in owners for entry in self._tools_of(owner, default)],
            [{**item, "server": owner.name} for owner in owners for item in owner.offers.resources],
            [entry for owner in owners for entry in self._prompts_of(owner)],
        )
        self.refused += problems
        return payload

    def _tools_of(self, owner: ServerOwner, default: PolicyName) -> list[JsonObject]:
        entries = []
        for tool in owner.tools:
            name = self._tools.claim(owner.name, tool.name)
            if name is None:
                self._refuse(owner.name, tool.name)
                continue
            self.definitions[name] = tool
            entries.append(self._entry(owner, name, tool, default))
        return entries

    def _entry(self, owner: ServerOwner, name: str, tool: ToolDefinition, default: PolicyName) -> JsonObject:
        policy = standing(owner.settings.tools, default, name, tool.name)
        if self._pins.changed(name, tool.fingerprint):
            if name not in self.changed:
                _LOG.warning("the definition of %s changed; it is asked for until a person looks at it", name)
            self.changed.add(name)
            policy = strictest(policy, "ask")
        else:
            self.changed.discard(name)
        entry: dict[str, Any] = {
            "name": name, "server": owner.name, "description": tool.description, "inputSchema": tool.input_schema,
            "policy": policy,
        }  # fmt: skip
        if idempotent(owner.settings.tools, tool.name):
            entry["idempotent"] = True  # the person's word; what the server says about itself is in `annotations`
        if tool.annotations is not None:
            entry["annotations"] = tool.annotations
        return entry

    def _prompts_of(self, owner: ServerOwner) -> list[JsonObject]:
        entries = []
        for prompt in owner.offers.prompts:
            name = self._prompts.claim(owner.name, prompt["name"])
            if name is None:
                self._refuse(owner.name, prompt["name"])
            else:
                entries.append({**prompt, "name": name, "server": owner.name})
        return entries

    def _refuse(self, server: str, own_name: str) -> None:
        text = f"{server}: '{own_name[:80]}' is left out: another server holds that public name"
        self.refused.append(text)
        _LOG.warning("%s", text)

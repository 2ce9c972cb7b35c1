"""What all servers offer together: public names, the person's policy for each, definitions that changed.

Below `aggregator.py`, which collects it anew whenever something changed; above the name tables and the pins.
"""

import logging
from collections.abc import Collection
from typing import Any, Protocol

from bridge.policy import idempotent, standing, strictest
from bridge.ports import JsonObject
from bridge.servers.definitions import ToolDefinition
from bridge.servers.memory import Memory
from bridge.servers.names import NameTable
from bridge.servers.owner import ServerOwner
from bridge.settings import PolicyName

_LOG = logging.getLogger("bridge.aggregator")


class Pins(Protocol):
    """Which definition of a tool the person has agreed to: `Memory`, or the bridge's database."""

    def changed(self, tool: str, digest: str) -> bool: ...

    def agree(self, tool: str, digest: str) -> None: ...


class Offered:
    """`definitions` by public name; `refused` says for people what got none."""

    def __init__(self, memory: Memory, pins: Pins) -> None:
        self.pins = pins
        self.definitions: dict[str, ToolDefinition] = {}
        self.changed_tools: set[str] = set()
        self.refused: list[str] = []
        self._memory = memory
        self._tools = NameTable()
        self._prompts = NameTable()

    def find(self, name: str, *, prompt: bool) -> tuple[str, str] | None:
        """Server and own name of a public name."""
        return (self._prompts if prompt else self._tools).find(name)

    def keep_only(self, servers: Collection[str]) -> None:
        """The names of other servers are free again."""
        self._tools.keep_only(servers)
        self._prompts.keep_only(servers)

    def begin(self) -> None:
        """A new collection begins."""
        self.refused = []
        self.definitions = {}

    def tools_of(self, owner: ServerOwner, default: PolicyName) -> list[JsonObject]:
        """The entries of one server's tools in the catalogue."""
        if owner.tools:
            self._memory.saw(owner.name, owner.tools)
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
        if self.pins.changed(name, tool.fingerprint):
            if name not in self.changed_tools:
                _LOG.warning("the definition of %s changed; it is asked for until a person looks at it", name)
            self.changed_tools.add(name)
            policy = strictest(policy, "ask")
        else:
            self.changed_tools.discard(name)
        entry: dict[str, Any] = {
            "name": name, "server": owner.name, "description": tool.description, "inputSchema": tool.input_schema,
            "policy": policy,
        }  # fmt: skip
        if idempotent(owner.settings.tools, tool.name):
            entry["idempotent"] = True  # the person's word; what the server says about itself is in `annotations`
        if tool.annotations is not None:
            entry["annotations"] = tool.annotations
        return entry

    def prompts_of(self, owner: ServerOwner) -> list[JsonObject]:
        """The entries of one server's prompts."""
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

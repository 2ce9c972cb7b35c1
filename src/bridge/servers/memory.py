"""What is remembered of servers and their offers, in a file such as `catalogue.json` beside the configuration.

Below `aggregator.py` and the gateway's cloud servers. Fingerprints of tools as they were first seen, because a tool
that changes after it was allowed is another tool; and the tools of servers that sleep or still start, so that they
are shown at once. Losing the file costs no more than seeing everything for the first time.
"""

import json
import logging
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bridge.servers.definitions import ToolDefinition

_LOG = logging.getLogger("bridge.server.memory")


class Memory:
    """Read once, written when something changed. `file` None keeps nothing beyond the process."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._pins: dict[str, str] = {}
        self._tools: dict[str, list[dict[str, Any]]] = {}
        self._latest: dict[str, list[ToolDefinition]] = {}
        self._dirty = False
        self._load()

    def changed(self, tool: str, digest: str) -> bool:
        """Whether the tool of this public name is another one than first seen; the first sight is remembered."""
        known = self._pins.get(tool)
        if known is None:
            self._pins[tool] = digest
            self._dirty = True
        return known is not None and known != digest

    def agree(self, tool: str, digest: str) -> None:
        """The tool as it is now is the one that is meant."""
        if self._pins.get(tool) != digest:
            self._pins[tool] = digest
            self._dirty = True
            self.save()

    def tools(self, server: str) -> list[ToolDefinition]:
        """The tools a server had when it ran last."""
        result = []
        for entry in self._tools.get(server, []):
            with suppress(TypeError):
                result.append(ToolDefinition(**entry))
        return result

    def saw(self, server: str, tools: list[ToolDefinition]) -> None:
        """Remember the tools of a server."""
        if self._latest.get(server) is tools:
            return  # looked at whenever any server changes
        self._latest[server] = tools
        entries = [asdict(tool) for tool in tools]
        if entries != self._tools.get(server):
            self._tools[server] = entries
            self._dirty = True

    def keep_only(self, servers: set[str]) -> None:
        """Forget the tools of servers that are no longer configured. What was agreed to stays agreed."""
        for server in set(self._tools) - servers:
            del self._tools[server]
            self._latest.pop(server, None)
            self._dirty = True

    def save(self) -> None:
        """Write the file where something changed; a failure is logged, and what is remembered stays in memory."""
        if self._file is None or not self._dirty:
            return
        self._dirty = False
        new = self._file.with_suffix(".new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            new.write_text(json.dumps({"version": 1, "pins": self._pins, "tools": self._tools}), encoding="utf-8")
            new.chmod(0o600)
            new.replace(self._file)
        except OSError as error:
            _LOG.warning("%s could not be written: %s", self._file.name, error.strerror)

    def _load(self) -> None:
        if self._file is None:
            return
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            pins, tools = state["pins"], state["tools"]
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError):
            _LOG.warning("%s can't be read; every tool counts as seen for the first time", self._file.name)
            return
        if isinstance(pins, dict) and all(isinstance(inner, str) for inner in pins.values()):
            self._pins = pins
        if isinstance(tools, dict) and all(isinstance(inner, list) for inner in tools.values()):
            self._tools = tools

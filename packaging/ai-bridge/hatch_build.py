"""Puts `src/bridge` of the shared tree into the wheel; an editable install points at the tree instead."""

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Tree(BuildHookInterface):
    """hatchling calls `initialize` before it collects files."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """`version` is `standard` for a wheel that is shipped, `editable` for development."""
        if version == "standard":
            build_data["force_include"][str(Path(self.root) / "../../src/bridge")] = "bridge"

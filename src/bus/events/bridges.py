"""What becomes of a person's bridges. These belong to a user and to no session: they carry `user` and have no `seq`."""

from dataclasses import dataclass
from typing import Literal


@dataclass(slots=True, kw_only=True)
class BridgeConnected:
    user: str
    bridge_id: str
    name: str
    tools: int
    type: Literal["bridge.connected"] = "bridge.connected"


@dataclass(slots=True, kw_only=True)
class BridgeDisconnected:
    user: str
    bridge_id: str
    name: str
    tools: int
    type: Literal["bridge.disconnected"] = "bridge.disconnected"


@dataclass(slots=True, kw_only=True)
class ToolsChanged:
    user: str
    bridge_id: str
    name: str
    tools: int
    type: Literal["tools.changed"] = "tools.changed"

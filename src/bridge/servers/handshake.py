"""How a conversation with a server begins: which protocol both speak. Below `session.py`.

The handshake era (up to 2025-11-25) begins with `initialize`, the modern one (2026-07-28) with `server/discover`.
"""

from contextlib import suppress
from typing import TYPE_CHECKING

from bridge.errors import McpError, ToolResultInvalid
from bridge.servers import jsonrpc
from bridge.servers.calls import unlimited
from bridge.servers.jsonrpc import JsonObject
from bridge.servers.link import Link, LinkLost
from bridge.version import VERSION

if TYPE_CHECKING:
    from bridge.servers.session import Session

HANDSHAKE_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
MODERN_VERSION = "2026-07-28"
CLIENT = {"name": "ai-bridge", "version": VERSION}
CAPABILITIES: JsonObject = {"elicitation": {"form": {}}}
META = "io.modelcontextprotocol/"
METHOD_NOT_FOUND = -32601
_UNSUPPORTED_VERSION = -32022


async def agree(session: "Session", link: Link, wanted: str) -> None:
    """Give the session its version and what the server can do. Raises McpError, LinkLost, ToolResultInvalid."""
    if wanted == MODERN_VERSION:
        await _discover(session, link)
        return
    try:
        await _initialize(session, link)
    except McpError as error:
        if wanted != "auto" or error.code not in (_UNSUPPORTED_VERSION, METHOD_NOT_FOUND):
            raise
        await _discover(session, link)


async def listen(session: "Session") -> None:
    """The modern way to hear of changes; where it breaks, the owner's own look every few minutes is left."""
    wanted = {"toolsListChanged": True, "promptsListChanged": True, "resourcesListChanged": True}
    with suppress(McpError, LinkLost, ToolResultInvalid):
        await session.ask("subscriptions/listen", {"notifications": wanted}, unlimited())


async def _initialize(session: "Session", link: Link) -> None:
    offer = {"protocolVersion": HANDSHAKE_VERSIONS[0], "capabilities": CAPABILITIES, "clientInfo": CLIENT}
    result = (await session.ask("initialize", offer, unlimited())).value
    version = result.get("protocolVersion")
    if version not in HANDSHAKE_VERSIONS:
        raise ToolResultInvalid(f"the server speaks protocol {version!r}, which is not known here")
    _take(session, link, version, result)
    await link.send(jsonrpc.notification("notifications/initialized"))


async def _discover(session: "Session", link: Link) -> None:
    session.version = MODERN_VERSION
    link.adopt(MODERN_VERSION, modern=True)
    result = (await session.ask("server/discover", {}, unlimited())).value
    versions = result.get("supportedVersions")
    if not isinstance(versions, list) or MODERN_VERSION not in versions:
        raise ToolResultInvalid(f"the server speaks only {versions!r}, which is not known here")
    meta = result.get("_meta")
    info = meta.get(f"{META}serverInfo") if isinstance(meta, dict) else None
    _take(session, link, MODERN_VERSION, {**result, "serverInfo": info})


def _take(session: "Session", link: Link, version: str, result: JsonObject) -> None:
    session.version = version
    session.capabilities = result["capabilities"] if isinstance(result.get("capabilities"), dict) else {}
    session.info = result["serverInfo"] if isinstance(result.get("serverInfo"), dict) else {}
    link.adopt(version, modern=version == MODERN_VERSION)

"""What a person may configure: MCP servers, the gateway to dial, the policy.

`configuration.py` reads the file and expands references, then validates with these models;
`servers/`, `aggregator.py`, `policy.py` and `tunnel.py` receive their slice. The gateway's
`mcp_servers` are the same entries (`McpServers`). This module knows no file and no position:
`source_location` only says where in a document a member of the models came from.
"""

import re
import socket
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from bridge.foreign_settings import SERVER_KEYS, normalise_entry, normalise_servers, server_location

__all__ = [
    "BridgeSettings", "LinkSettings", "McpServerSettings", "McpServers", "PolicyName", "PolicySettings", "ToolRule",
    "ToolSettings", "is_loopback_url", "normalise_entry", "normalise_servers", "source_location",
    "url_parts",
]  # fmt: skip

_DURATION = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")
_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, None: 1.0}


def parse_duration(value: Any) -> float:
    """Seconds of `5s`, `500ms`, `10m`, `1h`, or of a bare number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError("a duration like 5s, 500ms, 10m or 1h is expected")
    if isinstance(value, str):
        match = _DURATION.fullmatch(value)
        if match is None:
            raise ValueError("a duration like 5s, 500ms, 10m or 1h is expected")
        value = float(match[1]) * _UNIT[match[2]]
    if not 0 <= value < 366 * 86400:
        raise ValueError("a duration between 0 and a year is expected")
    return float(value)


def _text(value: Any) -> Any:
    """YAML reads `PORT: 8080` as a number; an environment holds text. Yes and no stay an error: quote them."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value


Duration: TypeAlias = Annotated[float, BeforeValidator(parse_duration)]
Text: TypeAlias = Annotated[str, BeforeValidator(_text)]
SecretText: TypeAlias = Annotated[SecretStr, BeforeValidator(_text)]
PolicyName: TypeAlias = Literal["allow", "ask", "deny"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ToolRule(_Strict):
    """A pattern a call may match: the tool's own name, and, where given, its arguments and paths.

    `tool` is a glob over the name the server gave. `arguments` maps an argument (dotted for nested ones) to a
    glob its text must match; `paths` maps an argument to folders, one of which the path in it must lie beneath.
    A bare text is a rule with that `tool`.
    """

    tool: str = Field(default="*", min_length=1)
    arguments: dict[str, Text] = {}
    paths: dict[str, tuple[str, ...]] = {}

    @model_validator(mode="before")
    @classmethod
    def _from_text(cls, value: Any) -> Any:
        return {"tool": value} if isinstance(value, str) else value


class ToolSettings(_Strict):
    """`tools:` of a server. `deny` wins over `ask`, `ask` over `allow`; `idempotent` tools may be run again."""

    allow: tuple[ToolRule, ...] = ()
    ask: tuple[ToolRule, ...] = ()
    deny: tuple[ToolRule, ...] = ()
    idempotent: tuple[str, ...] = ()


class SignInSettings(_Strict):
    """`sign_in:` of a server behind a URL: OAuth, in the gateway's `mcp_servers` only. `true` takes the defaults."""

    scopes: tuple[str, ...] = ()
    client_id: str | None = None
    """Where the server registers no clients by itself; with `client_secret`, where it gave one."""
    client_secret: SecretText | None = None
    redirect_url: str | None = None
    """Where the browser comes back to; the gateway's own `/oauth/callback` unless a proxy stands before it."""


def _sign_in(value: Any) -> Any:
    return {} if value is True else None if value is False else value


class McpServerSettings(_Strict):
    """One MCP server: a `command` to start (stdio), or a `url` to reach (Streamable HTTP, SSE)."""

    name: str = Field(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f]+$")
    command: str | None = Field(default=None, min_length=1)
    args: tuple[Text, ...] = ()
    env: dict[str, SecretText] = {}
    url: str | None = None
    transport: Literal["stdio", "http", "sse"] | None = None
    headers: dict[str, SecretText] = {}
    inherit_env: bool | tuple[str, ...] = ()
    """Names taken over from the bridge's own environment, which is otherwise hidden from servers; true for all."""
    cwd: str | None = None
    lazy: bool = False
    """Start at the first call; until then the catalogue shows what was seen the last time."""
    idle_stop: Duration | None = None
    """Seconds without a call after which the server is stopped, to be started by the next call."""
    timeout: Duration = Field(default=120.0, gt=0)
    """Seconds a call may take; the start has the same, and at most a minute."""
    max_in_flight: int = Field(default=64, ge=1, le=10_000)
    enabled: bool = True
    protocol: Literal["auto", "2025-11-25", "2026-07-28"] = "auto"
    sampling: Literal["deny"] = "deny"
    sign_in: Annotated[SignInSettings | None, BeforeValidator(_sign_in)] = None
    tools: ToolSettings = ToolSettings()

    @model_validator(mode="after")
    def _one_way(self) -> "McpServerSettings":
        if (self.command is None) == (self.url is None):
            raise ValueError("a server needs either 'command' or 'url'")
        if self.command is not None and self.transport in ("http", "sse"):
            raise ValueError(f"transport '{self.transport}' needs 'url', not 'command'")
        if self.sign_in is not None and (self.url is None or self.transport == "sse"):
            raise ValueError("'sign_in' is for servers with a 'url' over Streamable HTTP")
        if self.url is not None:
            if self.transport == "stdio":
                raise ValueError("transport 'stdio' needs 'command', not 'url'")
            parts = url_parts(self.url)
            if parts.scheme not in ("http", "https") or not parts.hostname:
                raise ValueError("'url' must begin with http:// or https:// and name a host")
        return self

    @property
    def kind(self) -> Literal["stdio", "http", "sse"]:
        """How the server is reached."""
        if self.command is not None:
            return "stdio"
        return "sse" if self.transport == "sse" else "http"


def _distinct(servers: tuple[McpServerSettings, ...]) -> tuple[McpServerSettings, ...]:
    seen: set[str] = set()
    for server in servers:
        if server.name in seen:
            raise ValueError(f"two MCP servers are named '{server.name}'")
        seen.add(server.name)
    return servers


McpServers: TypeAlias = Annotated[
    tuple[McpServerSettings, ...], BeforeValidator(normalise_servers), AfterValidator(_distinct)
]
"""`mcp_servers` in any of its forms: a list, a map, or a document with `mcpServers` or `servers` in it."""


class LinkSettings(_Strict):
    """`server:` in the bridge's file: the gateway to dial. Without a `url` the bridge works by itself."""

    url: str | None = None
    token: SecretStr | None = None
    reconnect_interval: Duration = Field(default=5.0, gt=0)
    """Seconds: the most the first attempt to reconnect waits."""
    name: str = Field(default_factory=lambda: socket.gethostname()[:64] or "bridge", min_length=1, max_length=64)

    @model_validator(mode="after")
    def _websocket(self) -> "LinkSettings":
        if self.url is not None:
            parts = url_parts(self.url)
            if parts.scheme not in ("ws", "wss") or not parts.hostname or parts.fragment:
                raise ValueError("'url' must begin with wss:// (or ws:// for this machine), name a host, and have no #")
            if parts.username or parts.password or "token" in parts.query:
                raise ValueError("a token never goes into the URL: use 'token'")
        return self


class PolicySettings(_Strict):
    """`policy:` in the bridge's file. `default` is for a tool that no rule of its server names."""

    default: PolicyName = "ask"
    ask_timeout: Duration = Field(default=60.0, gt=0)
    confirm: Literal["chat", "local"] = "chat"


class BridgeSettings(_Strict):
    """The bridge's whole file."""

    version: Annotated[Literal["1.0"], BeforeValidator(_text)] = "1.0"
    server: LinkSettings = LinkSettings()
    mcp_servers: McpServers = ()
    policy: PolicySettings = PolicySettings()

    @model_validator(mode="before")
    @classmethod
    def _one_key(cls, value: Any) -> Any:
        """`mcpServers` and `servers` as other programs write them become `mcp_servers`."""
        if not isinstance(value, Mapping):
            return value
        found = [key for key in SERVER_KEYS if key in value]
        if len(found) > 1:
            raise ValueError(f"'{found[0]}' and '{found[1]}' mean the same: keep one")
        rest = {key: entry for key, entry in value.items() if key not in SERVER_KEYS and key != "inputs"}
        return {**rest, "mcp_servers": value[found[0]]} if found else rest


def source_location(document: Any, location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Where in the person's `document` the member of the models at `location` was written.

    The models know one list of servers; a person may have written a map or `mcpServers`. For the bridge's whole
    file and for a bare list of servers alike; other locations come back as they are.
    """
    return server_location(document, location)


def url_parts(url: str) -> SplitResult:
    """Its parts. Raises ValueError for what is no URL, and for a port that is none."""
    if any(character.isspace() or not character.isprintable() for character in url):
        raise ValueError("a URL has no blanks in it")
    parts = urlsplit(url)
    try:
        good = parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("the port of the URL is no number from 1 to 65535")
    return parts


def is_loopback_url(url: str) -> bool:
    """Whether `url` names this machine by a loopback address, where `ws://` is safe.

    Names other than `localhost` are not looked up: what they resolve to may change.
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ip_address(host.split("%")[0]).is_loopback
    except ValueError:
        return False

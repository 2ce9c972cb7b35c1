"""The listener's slices of the settings: `server` and `auth`.

Composed by `gateway/settings.py`, read by `server.py`, `auth.py` and `app.py`.
What may not be combined (a public address without TLS, JWT in this version) is
judged by the composer, not here: a slice only knows its own shape.
"""

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from bus.errors import BadParameters
from bus.keys import user_id

Role = Literal["owner", "admin", "user", "service", "viewer"]
Scope = Literal["chat", "tools", "tunnel", "approve", "read", "admin", "metrics"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _network(text: str) -> str:
    ipaddress.ip_network(text, strict=False)
    return text


def _user(text: str) -> str:
    try:
        return str(user_id(text))
    except BadParameters as error:
        raise ValueError(error.message) from error


def _origin(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    if not mark or not scheme or not rest or "/" in rest:
        raise ValueError("an origin is written scheme://host[:port], with nothing after it")
    return text.lower()


def _at_home(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ValueError("there is no home folder that ~ could mean") from error


File = Annotated[Path, AfterValidator(_at_home)]
"""A file of the operator's; `~` is his home folder."""
Network = Annotated[str, AfterValidator(_network)]
"""An address or a network in CIDR form."""


class TlsSettings(_Strict):
    """`server.tls`: PEM files. `client_ca` turns on mutual TLS."""

    cert: File | None = None
    key: File | None = None
    client_ca: File | None = None


class ServerSettings(_Strict):
    """`server:` in the gateway's file."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8080, ge=0, le=65535)
    """0: any free port."""
    max_connections: int = Field(default=1000, ge=1)
    max_message_bytes: int = Field(default=1_048_576, ge=1024)
    heartbeat_seconds: float = Field(default=30, gt=0)
    max_media_bytes: int = Field(default=20_971_520, ge=0)
    max_media_bytes_per_user: int = Field(default=1_073_741_824, ge=0)
    """Of all files that are kept for one user. 0: no limit."""
    allowed_origins: list[Annotated[str, AfterValidator(_origin)]] = []
    allowed_ips: list[Network] = []
    tls: TlsSettings = TlsSettings()
    tls_terminated_by_proxy: bool = False
    trusted_proxies: list[Network] = []


class StaticToken(_Strict):
    """An entry of `auth.tokens`."""

    user: Annotated[str, AfterValidator(_user)]
    role: Role = "user"
    scopes: list[Scope] | None = None
    """None: all that the role holds."""
    token: SecretStr


class JwtSettings(_Strict):
    """`auth.jwt`: tokens of an identity provider; on where `issuer` is set."""

    issuer: str | None = None
    audience: str | None = None
    algorithms: list[str] = ["RS256", "EdDSA"]
    jwks_url: str | None = None
    public_key: str | None = None


class AuthSettings(_Strict):
    """`auth:` in the gateway's file."""

    tokens: list[StaticToken] = []
    jwt: JwtSettings = JwtSettings()

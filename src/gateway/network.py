"""Who may knock: addresses, Host and Origin, before anything else is looked at.

Pure checks over headers and settings; `server.py` runs them on every route, loopback too. They stop
DNS rebinding (Host) and foreign pages (Origin), whatever credentials a browser would send along.
"""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import urlsplit

from multidict import CIMultiDictProxy

from bus.errors import BadParameters, Forbidden
from gateway.settings_server import ServerSettings

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_WILDCARDS = frozenset({"0.0.0.0", "::", "*", ""})  # noqa: S104 - compared with, not bound to
_PORTS = {"http": 80, "https": 443}
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP", "Via")


def is_loopback(address: str) -> bool:
    """Whether an address is of this machine only."""
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return address == "localhost"
    mapped = getattr(found, "ipv4_mapped", None)
    return found.is_loopback or (mapped is not None and mapped.is_loopback)


def local_url(settings: ServerSettings, port: int) -> str:
    """Where the web chat is, as seen from this machine."""
    host = "127.0.0.1" if settings.host in _WILDCARDS else settings.host
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if settings.tls.cert else 'http'}://{name}:{port}"


def web_url(settings: ServerSettings, port: int) -> str:
    """Where people find the web chat: by the first https name in `allowed_origins` where others reach it at all."""
    reached = settings.tls_terminated_by_proxy or not is_loopback(settings.host)
    named = [origin for origin in settings.allowed_origins if reached and origin.startswith("https://")]
    return named[0] if named else local_url(settings, port)


def _networks(texts: list[str]) -> tuple[Network, ...]:
    return tuple(ipaddress.ip_network(text, strict=False) for text in texts)


def _within(address: str, networks: tuple[Network, ...]) -> bool:
    try:
        found = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in networks if network.version == (mapped or found).version)


def split_host(text: str) -> tuple[str, int | None]:
    """Name and port of a Host header. Raises BadParameters."""
    try:
        parts = urlsplit(f"//{text}")
        name, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadParameters("the Host header is malformed") from error
    if not name or parts.path or parts.query or parts.fragment or parts.username is not None:
        raise BadParameters("the Host header is malformed")
    return name, port


@dataclass(frozen=True)
class Doors:
    """The checks, by the listener's settings."""

    settings: ServerSettings
    _allowed: tuple[Network, ...] = field(init=False)
    _proxies: tuple[Network, ...] = field(init=False)
    _hosts: frozenset[str] = field(init=False)

    def __post_init__(self) -> None:
        own = {self.settings.host.lower()} - _WILDCARDS
        listed = {urlsplit(origin).hostname or "" for origin in self.settings.allowed_origins}
        object.__setattr__(self, "_allowed", _networks(self.settings.allowed_ips))
        object.__setattr__(self, "_proxies", _networks(self.settings.trusted_proxies))
        object.__setattr__(self, "_hosts", LOOPBACK_NAMES | own | listed)

    def peer(self, remote: str, headers: CIMultiDictProxy[str]) -> str:
        """The address of the client: `remote`, or what a trusted proxy says of it."""
        if not self._proxies or not _within(remote, self._proxies):
            return remote
        hops = [hop.strip() for value in headers.getall("X-Forwarded-For", []) for hop in value.split(",")]
        for hop in reversed(hops):
            if not _within(hop, self._proxies):
                return hop
        return remote

    def check_address(self, address: str) -> None:
        """Raises Forbidden for an address outside `allowed_ips`."""
        if self._allowed and not _within(address, self._allowed):
            raise Forbidden("this address is not allowed")

    def check_host(self, headers: CIMultiDictProxy[str], local: str) -> str:
        """The Host header, if it names this gateway. Raises BadParameters, Forbidden.

        `local` is the address that was connected to, which may always be named.
        """
        values = headers.getall("Host", [])
        if len(values) != 1:
            raise BadParameters("exactly one Host header is wanted")
        name, _ = split_host(values[0])
        if name not in self._hosts and name != local.split("%")[0]:
            raise Forbidden("this gateway is not called by that name (server.allowed_origins lists further ones)")
        return values[0]

    def check_origin(self, headers: CIMultiDictProxy[str], host: str, scheme: str) -> None:
        """Raises Forbidden where a page of another origin asks. No Origin at all is no browser's page."""
        values = headers.getall("Origin", [])
        if not values:
            if headers.get("Sec-Fetch-Site", "none") in ("cross-site", "same-site"):
                raise Forbidden("a page of another origin may not ask here")
            return
        if len(values) != 1 or not self._own(values[0].lower(), host, scheme):
            raise Forbidden("a page of another origin may not ask here")

    def guest(self, headers: CIMultiDictProxy[str]) -> str | None:
        """The origin of a page that the operator allowed beside our own, for the headers of CORS."""
        origin = headers.get("Origin", "").lower()
        return origin if origin in self.settings.allowed_origins else None

    def _own(self, origin: str, host: str, scheme: str) -> bool:
        if origin in self.settings.allowed_origins:
            return True
        parts = urlsplit(origin)
        schemes = {"https", scheme} if self.settings.tls_terminated_by_proxy else {scheme}
        if parts.scheme not in schemes or "@" in parts.netloc or f"{parts.scheme}://{parts.netloc}" != origin:
            return False
        name, port = split_host(host)
        try:
            asked = parts.port or _PORTS[parts.scheme]
        except ValueError:
            return False
        return parts.hostname == name.lower() and asked == (port or _PORTS[parts.scheme])

    def direct_loopback(self, remote: str, headers: Mapping[str, str]) -> bool:
        """Whether a request comes from this very machine, with no proxy in between."""
        behind = bool(self._proxies) or self.settings.tls_terminated_by_proxy
        return is_loopback(remote) and not behind and not any(name in headers for name in _FORWARDED)

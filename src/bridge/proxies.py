"""The proxy between a person's computer and the gateway, as the environment names it: HTTPS_PROXY and NO_PROXY.

Only for `wss://` to other machines: the proxy then carries TLS that it can't read, and never sees a token. Read here
because `urllib` costs a megabyte for it. Below `tunnel.py`, `pairing.py` and `doctor.py`.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from bridge.configuration import ConfigurationError, Place, Problem
from bridge.settings import is_loopback_url


def proxy_of(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The URL of the proxy that leads to the gateway at `url` (wss or https), or None. Raises ConfigurationError."""
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    if parts.scheme not in ("wss", "https") or is_loopback_url(url):
        return None
    named = _variable(environ, "https_proxy")
    if not named or _excepted(parts.hostname or "", parts.port or 443, _variable(environ, "no_proxy")):
        return None
    proxy = named if "://" in named else f"http://{named}"
    try:
        way = urlsplit(proxy)
        usable = way.scheme in ("http", "https") and bool(way.hostname) and way.port != 0
    except ValueError:
        raise _wrong("is no URL") from None
    if usable and (way.path.strip("/") or way.query or way.fragment):
        raise _wrong("has a path, which a proxy has not")
    if usable and way.username and way.password is None:
        raise _wrong("has a user without a password")
    return proxy if usable else None


def _wrong(reason: str) -> ConfigurationError:
    """Without the value, which may hold a password."""
    return ConfigurationError([Problem(Place("HTTPS_PROXY"), "", reason)])


def _variable(environ: Mapping[str, str], name: str) -> str:
    """In small letters first, as all programs that know these variables look for them."""
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _excepted(host: str, port: int, listed: str) -> bool:
    """`NO_PROXY`: hosts, addresses, domains (`.corp.example`, `*.corp.example`), with a port or not; `*` for all."""
    address = ":" in host or host.replace(".", "").isdigit()
    for entry in listed.lower().replace(",", " ").split():
        for text in (entry, entry.removesuffix(f":{port}")):  # an address may end like a port
            name = text.strip("[]").removeprefix("*").strip(".")
            if text == "*" or host == name or (name and not address and host.endswith(f".{name}")):
                return True
    return False

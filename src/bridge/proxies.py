"""The proxy between a person's computer and the gateway, as the environment names it: HTTPS_PROXY and NO_PROXY.

Only for `wss://` to other machines: the proxy then carries TLS that it can't read, and never sees a token. Read here
because `urllib` costs a megabyte for it. Below `tunnel.py`, `pairing.py` and `doctor.py`.
"""

import os
from collections.abc import Mapping
from urllib.parse import urlsplit

from bridge.settings import is_loopback_url


def proxy_of(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The URL of the proxy that leads to the gateway at `url` (wss or https), or None."""
    environ = os.environ if environ is None else environ
    parts = urlsplit(url)
    if parts.scheme not in ("wss", "https") or is_loopback_url(url):
        return None
    named = _variable(environ, "https_proxy")
    if not named or _excepted(parts.hostname or "", parts.port or 443, _variable(environ, "no_proxy")):
        return None
    proxy = named if "://" in named else f"http://{named}"
    return proxy if urlsplit(proxy).scheme in ("http", "https") and urlsplit(proxy).hostname else None


def _variable(environ: Mapping[str, str], name: str) -> str:
    """In small letters first, as all programs that know these variables look for them."""
    return (environ.get(name) or environ.get(name.upper()) or "").strip()


def _excepted(host: str, port: int, listed: str) -> bool:
    """`NO_PROXY`: hosts and domains, with a port or without, and `*` for all."""
    for entry in listed.lower().split(","):
        name = entry.strip().removesuffix(f":{port}").lstrip(".")
        if name == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
    return False

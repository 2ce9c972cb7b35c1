"""Public names of tools and prompts: `<server>_<tool>`, routed by a table and never by splitting. Pure.

Below `aggregator.py` and the gateway's cloud servers.
"""

import hashlib
import re
from collections.abc import Iterable

MAX_NAME = 64
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
_DIGEST = 8


def public_name(server: str, own_name: str) -> str:
    """`<server>_<tool>` where that is legal, `[A-Za-z0-9_-]{1,64}`; else a shortened form with a hash.

    The hash is over both names, so that a look-alike (another alphabet, another cut) gets another name.
    """
    plain = f"{server}_{own_name}"
    if len(plain) <= MAX_NAME and not _ILLEGAL.search(plain):
        return plain
    digest = hashlib.sha256(f"{server}\0{own_name}".encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST]
    return f"{_ILLEGAL.sub('_', plain)[: MAX_NAME - _DIGEST - 1]}_{digest}"


class NameTable:
    """Who holds which public name. A name belongs to whoever had it first, until that server is gone."""

    def __init__(self) -> None:
        self._holders: dict[str, tuple[str, str]] = {}

    def claim(self, server: str, own_name: str) -> str | None:
        """The public name, or None where another tool holds it."""
        name = public_name(server, own_name)
        return name if self._holders.setdefault(name, (server, own_name)) == (server, own_name) else None

    def find(self, name: str) -> tuple[str, str] | None:
        """The server and the tool's own name behind a public one."""
        return self._holders.get(name)

    def keep_only(self, servers: Iterable[str]) -> None:
        """Free the names of servers that are no longer configured."""
        left = set(servers)
        self._holders = {name: holder for name, holder in self._holders.items() if holder[0] in left}

"""Public names of the tools of a person's bridges.

Pure. A name belongs to the first bridge that brings it and stays with it, away or not, until that bridge is
revoked; a later bridge's tool of the same name is `<bridge>_<server>_<tool>`. Routes are looked up, never split.
"""

import hashlib
import re
from collections.abc import Collection

_LEGAL = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]")
MAX_CHARS = 64


class Names:
    """The table of one user: public name → (bridge id, the name the bridge knows)."""

    def __init__(self) -> None:
        self._routes: dict[str, tuple[str, str]] = {}
        self._public: dict[tuple[str, str], str] = {}

    def claim(self, bridge_id: str, bridge_name: str, own_name: str) -> str:
        """The public name of a tool; the same at every call."""
        known = self._public.get((bridge_id, own_name))
        if known is not None:
            return known
        for wanted in (legal(own_name), legal(f"{bridge_name}_{own_name}"), hashed(f"{bridge_id}_{own_name}")):
            if wanted not in self._routes:
                self.restore(wanted, bridge_id, own_name)
                return wanted
        raise AssertionError("a hash of bridge and tool is unique")

    def restore(self, public: str, bridge_id: str, own_name: str) -> None:
        """A name that was given before."""
        self._routes[public] = (bridge_id, own_name)
        self._public[bridge_id, own_name] = public

    def route(self, public: str) -> tuple[str, str] | None:
        """Bridge id and own name behind a public name."""
        return self._routes.get(public)

    def given(self, bridge_id: str) -> dict[str, str]:
        """Own name → public name of one bridge."""
        return {own: public for (owner, own), public in self._public.items() if owner == bridge_id}

    def keep_few(self, bridge_id: str, there: Collection[str], most: int) -> None:
        """A bridge that brings other tools each time: above `most`, names of tools that it no longer has are free."""
        given = self.given(bridge_id)
        if len(given) > most:
            for own, public in given.items():
                if own not in there:
                    del self._routes[public]
                    del self._public[bridge_id, own]

    def free(self, bridge_id: str) -> None:
        """The bridge was revoked."""
        for own, public in self.given(bridge_id).items():
            del self._routes[public]
            del self._public[bridge_id, own]


def legal(name: str) -> str:
    """`name` as models accept it; one that is illegal or too long is shortened and gets a hash."""
    return name if _LEGAL.match(name) else hashed(name)


def hashed(name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{_ILLEGAL.sub('_', name)[: MAX_CHARS - 9]}_{digest}"

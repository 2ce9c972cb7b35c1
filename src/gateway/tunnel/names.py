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
        self._count: dict[str, int] = {}

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
        self._count[bridge_id] = self._count.get(bridge_id, 0) + 1

    def forget_old(self, bridge_id: str, kept: Collection[str], most: int) -> None:
        """Where a bridge holds more than `most` names, those that were given first go, but for what it has now.

        A server that names its tools anew each time would otherwise fill the table, and the disk, for ever.
        """
        too_many = self._count.get(bridge_id, 0) - most
        if too_many > 0:
            for own, public in [pair for pair in self.given(bridge_id).items() if pair[0] not in kept][:too_many]:
                self._drop(bridge_id, own, public)

    def route(self, public: str) -> tuple[str, str] | None:
        """Bridge id and own name behind a public name."""
        return self._routes.get(public)

    def given(self, bridge_id: str) -> dict[str, str]:
        """Own name → public name of one bridge."""
        return {own: public for (owner, own), public in self._public.items() if owner == bridge_id}

    def free(self, bridge_id: str) -> None:
        """The bridge was revoked."""
        for own, public in self.given(bridge_id).items():
            self._drop(bridge_id, own, public)

    def _drop(self, bridge_id: str, own: str, public: str) -> None:
        del self._routes[public]
        del self._public[bridge_id, own]
        self._count[bridge_id] -= 1
        if not self._count[bridge_id]:
            del self._count[bridge_id]


def legal(name: str) -> str:
    """`name` as models accept it; one that is illegal or too long is shortened and gets a hash."""
    return name if _LEGAL.match(name) else hashed(name)


def hashed(name: str) -> str:
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{_ILLEGAL.sub('_', name)[: MAX_CHARS - 9]}_{digest}"

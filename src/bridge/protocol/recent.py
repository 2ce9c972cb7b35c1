"""What came lately, and what it came with: for marks that must be known again for a while, and not for ever.

Two generations: when the young one is full the old one is forgotten. Each step costs the same however much is
remembered, where taking the oldest out of a dict looks at all that were taken out before it.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Recent(Generic[K, V]):
    """The last `least` keys at least, and fewer than twice as many."""

    __slots__ = ("_least", "_old", "_young")

    def __init__(self, least: int) -> None:
        self._least = least
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __contains__(self, key: K) -> bool:
        return key in self._young or key in self._old

    def get(self, key: K, otherwise: V) -> V:
        """What the key came with, if it is remembered."""
        young = self._young
        return young[key] if key in young else self._old.get(key, otherwise)

    def put(self, key: K, value: V) -> dict[K, V]:
        """Remember it; what is forgotten for it, as a rule nothing. A key among that may have come again since."""
        self._young[key] = value
        if len(self._young) < self._least:
            return {}
        forgotten, self._old, self._young = self._old, self._young, {}
        return forgotten

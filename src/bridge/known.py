"""Which keys the ledger may hold: a Bloom filter, so that a new call is known to be new without asking the file.

It says "surely not" or "perhaps", and never forgets; what is "perhaps" is read from the file. With a hundred thousand
keys in it, one in a hundred new ones is read in vain.
"""

from collections.abc import Iterable

_BITS = 20
_MASK = (1 << _BITS) - 1


class Known:
    """128 KiB, whatever is added."""

    __slots__ = ("_bits",)

    def __init__(self, keys: Iterable[str]) -> None:
        self._bits = bytearray(1 << (_BITS - 3))
        for key in keys:
            self.add(key)

    def add(self, key: str) -> None:
        bits, mixed = self._bits, hash(key)
        for at in (mixed & _MASK, mixed >> _BITS & _MASK, mixed >> 2 * _BITS & _MASK):
            bits[at >> 3] |= 1 << (at & 7)

    def __contains__(self, key: str) -> bool:
        bits, mixed = self._bits, hash(key)
        one, two, three = mixed & _MASK, mixed >> _BITS & _MASK, mixed >> 2 * _BITS & _MASK
        return bool(bits[one >> 3] >> (one & 7) & bits[two >> 3] >> (two & 7) & bits[three >> 3] >> (three & 7) & 1)

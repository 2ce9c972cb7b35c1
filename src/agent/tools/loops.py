"""Notices a model that goes round in circles: same tool, same arguments, same result. Pure.

Used by `executor.py`, one for each turn. Counted over the whole turn, so that two tools in turn are seen as well.
"""

import hashlib
from collections import Counter

import orjson

from bus.events import JsonObject

TOLD_AFTER = 3
STOPPED_AFTER = 5


class LoopDetector:
    """`saw` says in how many rounds of the turn this very thing has happened."""

    def __init__(self) -> None:
        self._seen: Counter[bytes] = Counter()
        self._this_round: set[bytes] = set()

    def begin_round(self) -> None:
        """Twice in one round counts once: the model could not know yet."""
        self._this_round.clear()

    def saw(self, name: str, arguments: JsonObject, text: str) -> int:
        """Count one finished call."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (name.encode(), _canonical(arguments), text.encode("utf-8", "replace")):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        key = digest.digest()
        if key not in self._this_round:
            self._this_round.add(key)
            self._seen[key] += 1
        return self._seen[key]


def _canonical(arguments: JsonObject) -> bytes:
    try:
        return orjson.dumps(arguments, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return repr(sorted(arguments.items(), key=repr)).encode("utf-8", "replace")


def reminder(name: str, times: int) -> str:
    """What the model is told at the third time."""
    return (
        f"\n[{name} was called {times} times with the same arguments and gave the same result. "
        "Calling it again will not help: use what you have, try something else, or answer.]"
    )

"""Looking for a text in sessions: without regard to case, in any script, in what was said and answered.

There is no index of words: Chinese has no spaces, and one person's sessions are read
faster than such an index is kept. Pure but for the view it is given.
"""

import re
import time
from collections.abc import Iterator, Sequence

from agent.sessions.history import Cut
from agent.sessions.records import DONE, MESSAGE
from agent.sessions.view import View

AROUND = 60
MAX_QUERY = 200


class Wanted:
    """What to look for: `text` decides, `raw` passes over most lines without parsing them."""

    def __init__(self, query: str) -> None:
        """Raises ValueError where there is nothing to look for."""
        words = query[:MAX_QUERY].split()
        if not words:
            raise ValueError("an empty query")
        self.text = re.compile(r"\s+".join(re.escape(word) for word in words), re.IGNORECASE)
        self._raw = _raw_pattern(max(words, key=len))

    def may_be_in(self, raw: bytes) -> bool:
        """False: not in this line, whatever else stands in it."""
        return self._raw is None or self._raw.search(raw) is not None


def _raw_pattern(word: str) -> re.Pattern[bytes] | None:
    """For a word whose bytes in a file are known but for the case of ASCII letters.

    Not so for quotes and backslashes, which JSON escapes, for other letters with a case, and
    for k and s, which have a third form each outside of ASCII.
    """
    cased = (c.lower() != c.upper() and (not c.isascii() or c in "kKsS") for c in word)
    if any(c in '"\\/' or not c.isprintable() for c in word) or any(cased):
        return None
    return re.compile(re.escape(word.encode()), re.IGNORECASE)


def hits(view: View, cuts: Sequence[Cut], wanted: Wanted, until: float) -> Iterator[tuple[int, str]]:
    """(seq, snippet) of the messages that match, newest first; what is replaced is not found.

    Ends at `until` (monotonic seconds): a search may be incomplete, but not endless.
    """
    hidden = frozenset().union(*(cut.turns for cut in cuts))
    for number, line in enumerate(view.backward()):
        if number % 1000 == 999 and time.monotonic() > until:
            return
        if line.type not in (MESSAGE, DONE) or not wanted.may_be_in(line.raw):
            continue
        if any(cut.first <= line.seq < cut.end for cut in cuts):
            continue
        record = line.record()
        if record is None or record.data.get("message_id") in hidden:
            continue
        text = str(record.data.get("text") or "")
        found = wanted.text.search(text)
        if found is not None:
            yield line.seq, snippet(text, found.start(), found.end())


def snippet(text: str, start: int, end: int) -> str:
    """The match with some text around it, on one line."""
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    middle = " ".join(text[first:last].split())
    return ("…" if first else "") + middle + ("…" if last < len(text) else "")

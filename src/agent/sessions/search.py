"""Looking for a text in sessions: without regard to case, in any script, in what was said and answered.

There is no index of words: Chinese has no spaces, and one person's sessions are read
faster than such an index is kept. Pure but for the view it is given.
"""

import re
from collections.abc import Iterator, Sequence

from agent.sessions.history import Cut
from agent.sessions.records import DONE, MESSAGE
from agent.sessions.view import View

AROUND = 60
MAX_QUERY = 200


def pattern_of(query: str) -> re.Pattern[str] | None:
    """What to look for; None where there is nothing to look for."""
    words = query[:MAX_QUERY].split()
    return re.compile(r"\s+".join(re.escape(word) for word in words), re.IGNORECASE) if words else None


def hits(view: View, cuts: Sequence[Cut], pattern: re.Pattern[str]) -> Iterator[tuple[int, str]]:
    """(seq, snippet) of the messages that match, newest first; what is replaced is not found."""
    hidden = frozenset().union(*(cut.turns for cut in cuts))
    for line in view.backward():
        if line.type not in (MESSAGE, DONE) or any(cut.first <= line.seq < cut.end for cut in cuts):
            continue
        record = line.record()
        if record is None or record.data.get("message_id") in hidden:
            continue
        text = str(record.data.get("text") or "")
        found = pattern.search(text)
        if found is not None:
            yield line.seq, snippet(text, found.start(), found.end())


def snippet(text: str, start: int, end: int) -> str:
    """The match with some text around it, on one line."""
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    middle = " ".join(text[first:last].split())
    return ("…" if first else "") + middle + ("…" if last < len(text) else "")

"""Lines of a stream that differ from one before in their text alone. Pure.

Above it `stream.py`, which parses a line in full and then shows it here; below it nothing. A server writes the
same JSON around every piece of text (for one answer, id and time are the same as well). What stands before and
after the text is remembered, and proven: with another text in between it must parse to the same event. From then
on, a line that begins and ends so needs only its text parsed. That is exact and no guess: a JSON string in the
place of another changes nothing else. Where every line differs (some servers add noise of random length), this
gives up after a few attempts.
"""

import orjson

from bus.events import JsonObject

_ATTEMPTS = 4
_PROBE = "\u0001probe"
_MARK = b'"content":"'


class Template:
    """`text` of a line that fits, `learn` from one that was parsed and carried text alone."""

    __slots__ = ("_after", "_attempts", "_before", "_end")

    def __init__(self) -> None:
        self._before = b"\n"  # no line begins so
        self._after = b""
        self._end = 0
        self._attempts = 1 + _ATTEMPTS

    def text(self, line: bytes) -> str | None:
        """The text of a line that is like the one learnt from, else None."""
        if not (line.startswith(self._before) and line.endswith(self._after)):
            return None
        try:
            found = orjson.loads(line[len(self._before) : self._end + len(line)])
        except ValueError:
            return None
        return found if found.__class__ is str else None

    def learn(self, line: bytes, event: JsonObject, text: str) -> None:
        """`line` is `data:` and the JSON of `event`, whose one text is `text`."""
        if not self._attempts or not text:
            return
        self._attempts -= 1
        if self._attempts == _ATTEMPTS:
            return  # the first piece is waited for, and may be the only one
        start = line.find(_MARK) + len(_MARK) - 1
        token = orjson.dumps(text)
        if start < len(_MARK) - 1 or not line.startswith(token, start):
            return
        before, after = line[:start], line[start + len(token) :]
        try:
            probed = orjson.loads(before[5:] + orjson.dumps(_PROBE) + after)
            delta = probed["choices"][0]["delta"]
            was, delta["content"] = delta["content"], text
        except (ValueError, KeyError, IndexError, TypeError):
            return
        if was == _PROBE and probed == event and after:
            self._before, self._after, self._end = before, after, -len(after)

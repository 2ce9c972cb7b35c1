"""How often somebody may guess: five wrong codes in ten minutes, then silence for the rest of them.

Pure; `now` is monotonic seconds. Bounded: the oldest guessers are forgotten first.
"""

from collections import OrderedDict, deque

from bus.errors import RateLimited

TRIES = 5
WINDOW = 600.0
_GUESSERS = 10_000


class Tries:
    """Wrong guesses by guesser."""

    def __init__(self, tries: int = TRIES, window: float = WINDOW) -> None:
        self._tries = tries
        self._window = window
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()

    def check(self, guesser: str, now: float) -> None:
        """Raises RateLimited while this guesser is locked out."""
        wrong = self._wrong.get(guesser)
        if wrong is None:
            return
        while wrong and wrong[0] <= now - self._window:
            wrong.popleft()
        if not wrong:
            del self._wrong[guesser]
        elif len(wrong) >= self._tries:
            raise RateLimited("too many wrong codes", retry_after_ms=int((wrong[0] + self._window - now) * 1000) + 1)

    def wrong(self, guesser: str, now: float) -> None:
        """Note a wrong guess."""
        self._wrong.setdefault(guesser, deque(maxlen=self._tries)).append(now)
        self._wrong.move_to_end(guesser)
        while len(self._wrong) > _GUESSERS:
            self._wrong.popitem(last=False)

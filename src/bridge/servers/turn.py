"""What is to be written when a piece of input has been worked off.

A socket or a pipe is read in pieces, which may hold many messages; what they lead to is to leave together: one system
call instead of one for each, and whoever reads it is woken once. Below the links (`stdio.py`, `connection.py`), which
bracket their reading with `begin` and `end`. Knows nothing of what is written.
"""

import asyncio
import threading
from collections.abc import Callable

BURST = 8
"""So many messages leave at once, though more of the piece is to be worked off: their reader begins meanwhile, on
another core. Otherwise gateway, bridge and tool server would each wait until the one before had done with all."""


class _Turn(threading.local):
    """One for each thread, as each may have a loop."""

    actions: list[Callable[[], None]] | None = None


_turn = _Turn()


def begin() -> bool:
    """A piece of input begins. False where one is being worked off already: then don't `end` it."""
    if _turn.actions is not None:
        return False
    _turn.actions = []
    return True


def end() -> None:
    """It is worked off: do what was left for now."""
    actions, _turn.actions = _turn.actions, None
    for action in actions or ():
        try:
            action()
        except Exception as error:  # as the loop does for its callbacks: one's mistake is not the reader's
            told = {"message": "what was left for the end of an input failed", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)


def at_the_end(action: Callable[[], None]) -> None:
    """Do `action` at the end of the piece that is being worked off, or in the loop's next turn where there is none."""
    if _turn.actions is not None:
        _turn.actions.append(action)
    else:
        asyncio.get_running_loop().call_soon(action)

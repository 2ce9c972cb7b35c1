"""How a streaming turn's text becomes pieces, pure: complete ones are taken once and not looked at again."""

from collections.abc import Callable

from channels.items import Turn

DRAFT_SECONDS = 20.0
"""A draft shows for about 30 s on Telegram: it is shown again before."""

Take = Callable[[str], tuple[str, str]]


def restart(turn: Turn) -> None:
    """A new attempt: the text begins again; the messages stay, to be overwritten."""
    turn.taken, turn.rest, turn.activity = [], "", ""
    turn.first_text_at = None


def append(turn: Turn, text: str, now: float) -> None:
    """More text."""
    turn.rest += text
    turn.dirty = True
    if turn.first_text_at is None:
        turn.first_text_at = now


def lay_out(turn: Turn, take: Take, limit: int) -> tuple[list[str], str]:
    """All pieces so far, and the one that is still growing.

    A piece is taken once twice a message's text lies behind its beginning, so that a table
    or fence which has grown since may still move to the next message.
    """
    while len(turn.rest) > 2 * limit:
        piece, turn.rest = take(turn.rest)
        turn.taken.append(piece)
    pieces = turn.taken + pieces_of(turn.rest, take, empty=False)
    return pieces, pieces[-1] if pieces[len(turn.taken) :] else ""


def pieces_of(markdown: str, take: Take, *, empty: bool = True) -> list[str]:
    """`markdown` as pieces; with `empty`, a blank text is one blank piece."""
    pieces = []
    rest = markdown
    while rest.strip():
        piece, rest = take(rest)
        if piece.strip():
            pieces.append(piece)
    return pieces or ([""] if empty else [])


def draft_due(turn: Turn) -> float:
    """When a draft that shows must be shown again."""
    return turn.draft_at + DRAFT_SECONDS

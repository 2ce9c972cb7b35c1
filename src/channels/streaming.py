"""How a streaming turn's text becomes pieces, pure: complete ones are taken once and not looked at again."""

from collections.abc import Callable

from channels.items import Turn

DRAFT_SECONDS = 20.0
"""A draft shows for about 30 s on Telegram: it is shown again before."""

TAKE_AT = 1.25
Take = Callable[[str], tuple[str, str]]


def restart(turn: Turn) -> None:
    """A new attempt: the text begins again; the messages stay, to be overwritten."""
    turn.taken, turn.rest, turn.streamed, turn.looked_at, turn.activity = [], "", [], 0, ""
    turn.first_text_at = None


def append(turn: Turn, text: str, now: float) -> None:
    """More text; nothing is looked at before it shall be shown."""
    turn.streamed.append(text)
    turn.dirty = True
    if turn.first_text_at is None:
        turn.first_text_at = now


def lay_out(turn: Turn, take: Take, limit: int) -> tuple[list[str], str]:
    """All pieces so far, and the one that is still growing.

    A piece is taken when somewhat more than a message's text lies behind its beginning, so that
    a table or fence at its end may still move to the next message.
    """
    _look(turn)
    while len(turn.rest) > TAKE_AT * limit:
        piece, turn.rest = take(turn.rest)
        turn.taken.append(piece)
    pieces = turn.taken + pieces_of(turn.rest, take, empty=False)
    return pieces, pieces[-1] if pieces[len(turn.taken) :] else ""


def _look(turn: Turn) -> None:
    new = turn.streamed[turn.looked_at :]
    turn.looked_at += len(new)
    turn.rest += "".join(new)


def last_pieces(turn: Turn, text: str, take: Take) -> list[str]:
    """The pieces of the whole `text`: what has been taken stays, where the text goes on from what streamed."""
    whole = "".join(turn.streamed)
    if not turn.taken or not text.startswith(whole):
        return pieces_of(text, take)
    _look(turn)
    return turn.taken + pieces_of(turn.rest + text[len(whole) :], take, empty=False)


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

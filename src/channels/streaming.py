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
    pieces = turn.taken + pieces_of(turn.rest, take)
    return pieces, pieces[-1] if pieces[len(turn.taken) :] else ""


def _look(turn: Turn) -> None:
    new = turn.streamed[turn.looked_at :]
    turn.looked_at += len(new)
    turn.rest += "".join(new)


def cut_last(turn: Turn, take: Take) -> list[str] | None:
    """Cut one piece off the whole text of a turn that ended; all pieces, once nothing remains.

    What has been taken while it streamed stays, where the text goes on from what streamed. One piece
    at a time, because cutting renders and must not hold the loop for long.
    """
    if turn.final_rest is None:
        turn.final_pieces, turn.final_rest = _begin_last(turn)
    if turn.final_rest.strip():
        piece, turn.final_rest = take(turn.final_rest)
        if piece.strip():
            turn.final_pieces.append(piece)
    if turn.final_rest.strip():
        return None
    pieces, turn.final_pieces, turn.final_rest, turn.final_text = turn.final_pieces, [], None, None
    return pieces or [""]


def _begin_last(turn: Turn) -> tuple[list[str], str]:
    text, whole = turn.final_text or "", "".join(turn.streamed)
    if not turn.taken or not text.startswith(whole):
        return [], text
    _look(turn)
    return list(turn.taken), turn.rest + text[len(whole) :]


def pieces_of(markdown: str, take: Take) -> list[str]:
    """`markdown` as pieces."""
    pieces = []
    rest = markdown
    while rest.strip():
        piece, rest = take(rest)
        if piece.strip():
            pieces.append(piece)
    return pieces


def draft_due(turn: Turn) -> float:
    """When a draft that shows must be shown again."""
    return turn.draft_at + DRAFT_SECONDS

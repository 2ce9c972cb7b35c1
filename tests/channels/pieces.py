"""A whole text in pieces, as delivery takes them one by one."""

from channels.text import Measure, take_piece


def split_markdown(markdown: str, limit: int, measure: Measure) -> list[str]:
    """Pieces of at most `limit` by `measure`, in order, none of them blank; [] for a blank text."""
    pieces = []
    rest = markdown
    while rest.strip():
        piece, rest = take_piece(rest, limit, measure)
        if piece.strip():
            pieces.append(piece)
    return pieces

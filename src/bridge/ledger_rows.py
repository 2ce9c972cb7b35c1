"""Rows of the ledger as SQL, many in one statement.

Below is the database, above `ledger.py`. SQLite hands the interpreter to another thread at each step of a statement:
a statement for each row would take it from the event loop as often. So rows are written by the dozen, in the few
sizes of `_SIZES`, whose texts SQLite keeps prepared.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias, TypeVar

from bridge.database import Statement
from bridge.errors import Effect
from bridge.protocol.outbox import Answer

_SIZES = (48, 12, 3, 1)
_NAMES = "key, id, content, tool, state, kind, answer, effect, created, updated"
_COLUMNS = _NAMES.count(",") + 1
_Item = TypeVar("_Item")
_Values: TypeAlias = list[Any]


@dataclass(slots=True)
class Row:
    """What is written of a call: only its latest state counts."""

    call_id: str
    content: str
    tool: str
    state: str
    answer: Answer | None = None
    effect: Effect = "none"


def store(rows: Mapping[str, Row], now: float) -> Iterator[Statement]:
    """Statements that write `rows`, by their keys, over what is known of them. `now` is wall clock."""
    for some in _parts(list(rows.items())):
        values: _Values = []
        for key, row in some:
            answer = row.answer
            kind, payload = (None, None) if answer is None else (answer.kind, answer.payload or None)
            values += (key, row.call_id, row.content, row.tool, row.state, kind, payload, row.effect, now, now)
        yield _upsert(len(some)), values


def forget(keys: Sequence[str], now: float, longest: int) -> Iterator[Statement]:
    """Statements for what the gateway has: a key under which surely nothing was done is free again.

    Answers above `longest` bytes are not kept any more.
    """
    for some in _parts(keys):
        delete, update = _acknowledge(len(some))
        yield delete, some
        yield update, [now, longest, *some]


def _parts(items: Sequence[_Item]) -> Iterator[Sequence[_Item]]:
    """`items` cut into the sizes there are statements for."""
    at = 0
    for size in _SIZES:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size


@cache
def _upsert(count: int) -> str:
    rows = ", ".join([f"({', '.join('?' * _COLUMNS)})"] * count)
    return (
        f"INSERT INTO calls ({_NAMES}) VALUES {rows} "  # noqa: S608 - question marks only
        "ON CONFLICT (key) DO UPDATE SET id = excluded.id, state = excluded.state, kind = excluded.kind, "
        "answer = excluded.answer, effect = excluded.effect, updated = excluded.updated"
    )


@cache
def _acknowledge(count: int) -> tuple[str, str]:
    keys = f"key IN ({', '.join('?' * count)})"
    return (
        f"DELETE FROM calls WHERE {keys} "  # noqa: S608 - question marks only
        "AND (kind = 'ERROR' AND effect = 'none' OR state = 'received')",
        "UPDATE calls SET state = 'acknowledged', updated = ?, "  # noqa: S608 - question marks only
        f"answer = CASE WHEN length(answer) > ? THEN NULL ELSE answer END WHERE state = 'done' AND {keys}",
    )

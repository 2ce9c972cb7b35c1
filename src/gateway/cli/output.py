"""How the commands speak: tables for people, JSON for programs, one line for what went wrong."""

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from gateway.observability.redaction import escape_controls

ConfigOption = Annotated[str | None, typer.Option("--config", help="The configuration file.", metavar="FILE")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def print_json(value: Any) -> None:
    """`value` as JSON on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_table(rows: Sequence[Mapping[str, Any]], columns: Sequence[str], empty: str) -> None:
    """The `columns` of `rows` under their names; `empty` where there are none (on stderr, so that pipes stay empty)."""
    if not rows:
        print(empty, file=sys.stderr)
        return
    cells = [[_cell(row.get(column)) for column in columns] for row in rows]
    heads = [column.replace("_", " ").upper() for column in columns]
    widths = [max(_width(line[index]) for line in [heads, *cells]) for index in range(len(columns))]
    for line in [heads, *cells]:
        padded = [cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)]
        print("  ".join(padded).rstrip())


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set):
        return " ".join(_cell(each) for each in value) or "-"
    text = escape_controls(str(value))
    return text if len(text) <= 80 else text[:79] + "…"


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)

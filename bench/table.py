"""The table of `docs/bench.md`, out of `bench/results.json`: `python -m bench.table` writes it into the page."""

import json
import re
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
PAGE = Path(__file__).resolve().parent.parent / "docs" / "bench.md"
BEGIN, END = "<!-- table -->", "<!-- end of the table -->"


def reached(line: dict[str, Any]) -> str:
    """`yes` or `no`; nothing where nothing is asked, or it is not a bound."""
    match = re.fullmatch(r"(<=|>=|)\s*([\d.]+)", line.get("to_reach", "-"))
    if match is None:
        return ""
    bound, value = float(match[2]), line["value"]
    return "yes" if {"<=": value <= bound, ">=": value >= bound, "": value == bound}[match[1]] else "**no**"


def number(value: float) -> str:
    """As many digits as say something."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(results: dict[str, Any]) -> str:
    """Markdown."""
    machine = results["machine"]
    head = (
        f"Python {machine['python']}, {machine['cores']} cores, load at the end {machine['load'][0]}.\n\n"
        "| figure | measured | to reach | reached |\n|---|---:|---|---|\n"
    )
    rows = []
    for line in results["figures"]:
        measured = f"{number(line['value'])} {line['unit']}"
        rows.append(f"| {line['figure']} | {measured} | {line.get('to_reach', '')} | {reached(line)} |\n")
    return head + "".join(rows).replace("<=", "≤").replace(">=", "≥")


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN)
    _, after = rest.split(END)
    PAGE.write_text(f"{before}{BEGIN}\n{table(json.loads(RESULTS.read_text()))}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()

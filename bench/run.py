"""`make bench`: every figure, beside the floor it is held against, in one run.

Writes `bench/results.json`. `python -m bench.run NAME …` runs some of them; `--quick`
takes smaller numbers, to see that the bench itself works.
"""

import argparse
import asyncio
import json
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from bench import agent, durability, footprint, storm, streaming, tool_calls, tunnel
from bench.processes import raise_file_limit

Figures = list[dict[str, Any]]
PARTS: dict[str, Callable[[bool], Awaitable[Figures]]] = {
    "first_delta": streaming.first_delta,
    "throughput": streaming.throughput,
    "paced": streaming.paced,
    "long_session": streaming.long_session,
    "start": footprint.start,
    "connections": footprint.connections,
    "sessions": footprint.sessions,
    "acknowledged": durability.acknowledged,
    "rounds": agent.rounds,
    "plans": agent.plans,
    "choosing": agent.choosing,
    "tool_calls": tool_calls.calls,
    "large_results": tunnel.large,
    "bridge_weight": tunnel.weight,
    "idle_tunnels": tunnel.idle,
    "reconnecting": storm.reconnecting,
}
RESULTS = Path(__file__).with_name("results.json")


async def run(names: list[str], quick: bool) -> Figures:
    """The chosen parts, one after the other."""
    figures: Figures = []
    for name in names:
        for line in await PARTS[name](quick):
            figures.append(line)
            limit = f"  (to reach: {line['to_reach']})" if "to_reach" in line else ""
            print(f"{line['figure']:<58} {line['value']:>12} {line['unit']}{limit}", flush=True)
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PARTS, []], default=[])
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    raise_file_limit()
    figures = asyncio.run(run(asked.names or list(PARTS), asked.quick))
    if not asked.names and not asked.quick:
        machine = {
            "python": platform.python_version(), "system": platform.platform(terse=True), "cores": os.cpu_count(),
            "load": [round(value, 1) for value in os.getloadavg()],
        }  # fmt: skip
        RESULTS.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

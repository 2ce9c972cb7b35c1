"""What a running bridge tells other commands, through `status.json` beside the configuration.

`app.py` writes it whenever something changed; `ai-bridge status` and `doctor` read it. A file of a bridge that is
gone is known by its pid.
"""

import json
import os
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.editing import write_private
from bridge.pidfile import running_pid
from bridge.version import VERSION

if TYPE_CHECKING:
    from bridge.aggregator import Aggregator
    from bridge.calls import Calls
    from bridge.settings import BridgeSettings
    from bridge.tunnel import LinkStatus


@dataclass(frozen=True, slots=True)
class Status:
    """`running` says whether a bridge works now; `told` is what it wrote last."""

    running: bool
    told: dict[str, Any]


def write_status(folder: Path, told: dict[str, Any]) -> None:
    """Replace the file."""
    write_private(folder / "status.json", json.dumps({**told, "pid": os.getpid()}, ensure_ascii=False, indent=1))


def read_status(folder: Path) -> Status:
    """What is known of the bridge of this folder."""
    pid = running_pid(folder)
    try:
        told = json.loads((folder / "status.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        told = {}
    if not isinstance(told, dict) or pid is None or told.get("pid") != pid:
        return Status(pid is not None, {})
    return Status(True, told)


def remove_status(folder: Path) -> None:
    """A clean stop: nothing more is told."""
    (folder / "status.json").unlink(missing_ok=True)


def status_of(
    settings: "BridgeSettings", link: "LinkStatus | None", aggregator: "Aggregator", calls: "Calls"
) -> dict[str, Any]:
    """What is written: what `ai-bridge status` shows."""
    return {
        "version": VERSION, "name": settings.server.name, "url": settings.server.url,
        "link": {
            "state": link.state if link else "connecting", "reason": link.reason if link else "",
            "since": datetime.fromtimestamp(link.since if link else time.time(), UTC).isoformat(timespec="seconds"),
        },
        "servers": [
            {
                "name": owner.name, "state": owner.state, "error": owner.error, "tools": len(owner.tools),
                "pid": owner.pid, "restarts": owner.restarts, "in_flight": owner.requests.in_flight,
            }
            for owner in aggregator.owners
        ],
        "calls": {"running": calls.running, "finished": calls.finished, "refused": calls.refused},
        "problems": aggregator.problems()[:20],
    }  # fmt: skip

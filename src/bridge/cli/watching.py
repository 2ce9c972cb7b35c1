"""`status`, `approve`, `audit`: what the running bridge does and did, read from its folder."""

import json
from typing import Annotated

import typer

from bridge.cli.output import Config, Json, show
from bridge.running import Exit


def status(config: Config = None, as_json: Json = False) -> int:
    """What the running bridge does; exit 1 where none runs."""
    from bridge.loading import config_path
    from bridge.status import read_status
    from bridge.terminal import describe_status

    found = read_status(config_path(config).parent)
    if as_json:
        show({"running": found.running, **found.told, **({} if found.running else {"next": "ai-bridge run"})})
    elif found.running:
        show(describe_status(found.told))
    else:
        show("no bridge is running; ai-bridge run starts it")
    return 0 if found.running else 1


def approve(
    challenge: Annotated[str | None, typer.Argument(metavar="ID", help="Without it, what waits is listed")] = None,
    decision: Annotated[str, typer.Option("--decision", help="allow_once, allow_session, allow_always")] = "allow_once",
    deny: Annotated[bool, typer.Option("--deny", help="Say no")] = False,
    config: Config = None,
) -> int:
    """Say yes (or no) to a call that waits for you."""
    from bridge.confirm import DECISIONS, waiting
    from bridge.confirm import approve as approve_challenge
    from bridge.database import Database
    from bridge.loading import config_path
    from bridge.terminal import revealed

    wanted = "deny" if deny else decision
    if wanted not in DECISIONS:
        raise Exit(2, f"--decision is one of {', '.join(sorted(DECISIONS))}")
    path = config_path(config).parent / "ledger.sqlite"
    if not path.exists():
        raise Exit(1, "nothing waits: no bridge has run here")
    database = Database(path)
    try:
        if challenge is None:
            for question in waiting(database):
                asked = revealed(f"{question['tool']}  {question['arguments']}  ({question['risk']})")
                show(f"{question['challenge']}  {asked}")
            return 0
        if not approve_challenge(database, challenge, wanted):  # type: ignore[arg-type]  # it is one of DECISIONS
            raise Exit(1, f"{challenge[:64]}: unknown, answered already, or too late")
    finally:
        database.close()
    show("denied" if wanted == "deny" else "allowed")
    return 0


def audit_tail(limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 50, config: Config = None) -> int:
    """The last records, one JSON line each."""
    from bridge.audit import tail
    from bridge.loading import config_path

    for record in tail(config_path(config).parent / "audit.jsonl", limit):
        show(json.dumps(record, ensure_ascii=False))
    return 0


def audit_verify(config: Config = None) -> int:
    """Prove that nothing was edited or removed. Exit 1 names the first bad record."""
    from bridge.audit import verify
    from bridge.loading import config_path

    verdict = verify(config_path(config).parent / "audit.jsonl")
    if not verdict.ok:
        raise Exit(1, f"{verdict.path.name if verdict.path else 'audit.jsonl'}:{verdict.line}: {verdict.reason}")
    show(f"{verdict.records} records, unbroken")
    return 0

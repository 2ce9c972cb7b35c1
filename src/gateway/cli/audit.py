"""`gateway audit`: what was done by whom, and the proof that nobody changed the record of it."""

from typing import Annotated

import typer

from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption, print_json
from gateway.observability.redaction import escape_controls

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Read and prove the audit log."
)


@app.command()
def tail(
    limit: Annotated[int, typer.Option("--limit", "-n", help="The last so many records.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The last records."""
    from gateway.cli.office import Office

    result = Office(config).ask("audit.tail", limit=limit)
    if as_json:
        print_json(result)
        return
    for record in result["records"]:
        fields = " ".join(
            f"{name}={escape_controls(str(value))}"
            for name, value in record.items()
            if name not in ("seq", "timestamp", "event", "previous")
        )
        what = escape_controls(str(record.get("event")))
        print(f"{record.get('seq')} {record.get('timestamp')} {what} {fields}".rstrip())


@app.command()
def verify(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Prove the chain, or name the first bad record (exit code 1)."""
    from bridge.audit import verify as verify_chain
    from gateway.settings import load_settings

    verdict = verify_chain(load_settings(config).home / "audit.jsonl")
    if as_json:
        print_json(
            {
                "ok": verdict.ok,
                "records": verdict.records,
                "file": str(verdict.path) if verdict.path else None,
                "line": verdict.line,
                "reason": verdict.reason or None,
            }
        )
        if not verdict.ok:
            raise typer.Exit(1)
        return
    if not verdict.ok:
        raise Failure(f"{verdict.path}:{verdict.line}: {verdict.reason}")
    print(f"{verdict.records} records, the chain is whole")

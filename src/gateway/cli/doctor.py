"""`gateway doctor`: what is wrong, and the next command for each."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json

if TYPE_CHECKING:
    from gateway.cli.checks import Finding

app = typer.Typer(rich_markup_mode=None, add_completion=False)
_MARKS = {"ok": "✓", "warning": "!", "failed": "✗", "fixed": "✓"}


@app.command()
def doctor(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended at once.")] = False,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Look at everything; exit code 1 where something failed."""
    findings = []
    for finding in _findings(config):
        state = str(finding.state)
        if fix and finding.fix is not None:
            finding.fix()
            state = "fixed"
        row = {"name": finding.name, "state": state, "message": _readable(finding)}
        if finding.next and state not in ("ok", "fixed"):
            row["next"] = finding.next
        findings.append(row)
        if not as_json:
            print(f"{_MARKS[state]} {row['name']}: {row['message']}" + (" (fixed)" if state == "fixed" else ""))
            if "next" in row:
                print(f"    next: {row['next']}")
    bad = any(row["state"] == "failed" for row in findings)
    if as_json:
        print_json({"ok": not bad, "checks": findings})
    if bad:
        raise typer.Exit(1)


def _readable(finding: "Finding") -> str:
    """A mistake in the configuration is told without its value, `models[0].api_key: unknown key`: nothing to mask."""
    from gateway.observability.redaction import Redactor, escape_controls

    mistake = finding.name == "configuration" and finding.state == "failed"
    return escape_controls(finding.message if mistake else Redactor().text(finding.message))


def _findings(config: str | None) -> Iterator["Finding"]:
    import os

    from bridge.configuration import ConfigurationError
    from gateway.cli.checks import Finding, check_all, check_home
    from gateway.settings import gateway_home, load_settings

    try:
        loaded = load_settings(config)
    except ConfigurationError as error:
        yield from check_home(gateway_home(os.environ))
        for problem in error.problems:
            yield Finding("configuration", "failed", str(problem), "mend it, then: gateway config check")
        return
    yield from check_all(loaded)

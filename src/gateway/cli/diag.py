"""`gateway diag`: one file for whoever helps: versions, configuration, findings, the last log lines. No secrets."""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated

import typer

from gateway import __version__
from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption
from gateway.observability.redaction import Redactor, escape_controls, secrets_of

app = typer.Typer(rich_markup_mode=None)
LOG_LINES = 300


@app.command()
def diag(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to write; - for stdout.")] = None,
    config: ConfigOption = None,
) -> None:
    """Write down what somebody who helps needs to know. Read it before you pass it on."""
    text = "\n".join(_sections(config)) + "\n"
    if file is not None and str(file) == "-":
        print(text, end="")
        return
    target = file or Path(f"gateway-diag-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Failure(f"{target}: {error.strerror or error}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text)
    print(f"wrote {target}")


def _sections(config: str | None) -> Iterator[str]:
    from bridge.configuration import ConfigurationError
    from gateway.cli.checks import check_all
    from gateway.cli.config import masked
    from gateway.settings import load_settings

    yield f"gateway {__version__}, Python {sys.version.split()[0]}, {platform.platform()}"
    try:
        loaded = load_settings(config)
    except ConfigurationError as error:
        yield from ("", "## the configuration does not load", *map(str, error.problems))
        return
    redactor = Redactor(secrets_of(loaded.settings))
    yield f"configuration {loaded.source or '(none)'}, state {loaded.home}"
    yield from ("", "## settings", json.dumps(masked(json.loads(loaded.settings.model_dump_json())), indent=1))
    yield from ("", "## findings")
    for finding in check_all(loaded):
        line = f"{finding.state}: {finding.name}: {finding.message}" + (f" -> {finding.next}" if finding.next else "")
        yield escape_controls(redactor.text(line))
    yield from ("", "## libraries")
    yield " ".join(sorted(f"{each.name}=={each.version}" for each in distributions() if each.name))
    yield from ("", f"## the last {LOG_LINES} log lines")
    try:
        lines = (loaded.home / "logs" / "gateway.log").read_text("utf-8", "replace").split("\n")
    except OSError:
        lines = ["(there is no log file)"]
    for line in lines[-LOG_LINES:]:
        yield escape_controls(redactor.text(line))

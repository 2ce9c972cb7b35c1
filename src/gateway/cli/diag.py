"""`gateway diag`: one file for whoever helps: versions, configuration, findings, the last log lines. No secrets."""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway import __version__
from gateway.cli.failure import Failure
from gateway.cli.output import ConfigOption, JsonOption
from gateway.observability.redaction import Redactor, escape_controls, secrets_of

app = typer.Typer(rich_markup_mode=None, add_completion=False)
LOG_LINES = 300


@app.command()
def diag(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to write; - for stdout.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Write down what somebody who helps needs to know. Read it before you pass it on."""
    told = dict(_sections(config))
    text = json.dumps(told, ensure_ascii=False, indent=1) if as_json else _as_text(told)
    if (as_json and file is None) or str(file) == "-":
        print(text)
        return
    target = file or Path(f"gateway-diag-{time.strftime('%Y%m%d-%H%M%S')}.txt")
    try:
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise Failure(f"{target}: {error.strerror or error}") from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(text + "\n")
    print(f"wrote {target}")


def _as_text(told: Mapping[str, Any]) -> str:
    lines = [f"gateway {told['version']}, Python {told['python']}, {told['platform']}"]
    if "problems" in told:
        return "\n".join([*lines, "", "## the configuration does not load", *told["problems"]])
    lines += [f"configuration {told['configuration'] or '(none)'}, state {told['home']}"]
    lines += ["", "## settings", json.dumps(told["settings"], ensure_ascii=False, indent=1), "", "## findings"]
    for one in told["findings"]:
        lines.append(f"{one['state']}: {one['name']}: {one['message']}" + (f" -> {one['next']}" if one["next"] else ""))
    lines += ["", "## libraries", " ".join(told["libraries"])]
    return "\n".join([*lines, "", f"## the last {LOG_LINES} log lines", *told["log"]])


def _sections(config: str | None) -> Iterator[tuple[str, Any]]:
    from bridge.configuration import ConfigurationError
    from gateway.cli.checks import check_all
    from gateway.cli.config import masked
    from gateway.settings import load_settings

    yield from (("version", __version__), ("python", sys.version.split()[0]), ("platform", platform.platform()))
    try:
        loaded = load_settings(config)
    except ConfigurationError as error:
        yield "problems", list(map(str, error.problems))
        return
    redactor = Redactor(secrets_of(loaded.settings))

    def clean(text: str) -> str:
        return escape_controls(redactor.text(text))

    yield from (("configuration", str(loaded.source) if loaded.source else None), ("home", str(loaded.home)))
    yield "settings", masked(loaded.settings)
    yield (
        "findings",
        [
            {"name": each.name, "state": each.state, "message": clean(each.message), "next": clean(each.next)}
            for each in check_all(loaded)
        ],
    )
    yield "libraries", sorted(f"{each.name}=={each.version}" for each in distributions() if each.name)
    try:
        lines = (loaded.home / "logs" / "gateway.log").read_text("utf-8", "replace").split("\n")
    except OSError:
        lines = ["(there is no log file)"]
    yield "log", [clean(line) for line in lines[-LOG_LINES:]]

"""`gateway run`: load the settings, log, serve, leave with the right code."""

import asyncio
import sys
from typing import Annotated, Any

import typer

app = typer.Typer(rich_markup_mode=None)


@app.command()
def run(
    config: Annotated[str | None, typer.Option(help="The configuration file.", metavar="FILE")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 for any free one.")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from gateway.settings import load_settings

    overrides: dict[tuple[str | int, ...], tuple[str, Any]] = {}
    if host is not None:
        overrides["server", "host"] = ("--host", host)
    if port is not None:
        overrides["server", "port"] = ("--port", port)
    loaded = load_settings(config, overrides=overrides)

    from gateway.app import serve
    from gateway.observability.logs import Logs
    from gateway.observability.redaction import Redactor, secrets_of

    logging = loaded.settings.logging
    logs = Logs(
        logging.level, logging.format, folder=loaded.home / "logs", redactor=Redactor(secrets_of(loaded.settings))
    )
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        code = asyncio.run(serve(loaded))
    finally:
        logs.close()
    raise typer.Exit(code)

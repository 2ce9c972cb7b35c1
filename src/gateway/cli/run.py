"""`gateway run`: serve. What it does is in `serving.py`."""

from typing import Annotated

import typer

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def run(
    config: Annotated[str | None, typer.Option(help="The configuration file.", metavar="FILE")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 for any free one.")] = None,
) -> None:
    """Serve until SIGTERM or Ctrl-C."""
    from gateway.cli.serving import serve_with

    raise typer.Exit(serve_with(config, host, port))

"""`run` and `connect`: the bridge itself."""

from typing import Annotated

import typer

from bridge.cli.output import Config, Verbose, say


def run(config: Config = None, verbose: Verbose = False) -> int:
    """Start the servers and stay connected to the gateway."""
    from bridge.running import serve

    return serve(config, verbose=verbose, say=say)


def connect(
    url: Annotated[str, typer.Argument(help="wss://gateway.example/v1/tunnel")],
    pair: Annotated[bool, typer.Option("--pair", help="Get a code, and confirm it in the chat")] = False,
    token: Annotated[str | None, typer.Option("--token", help="A token with the scope 'tunnel' ('-' reads it)")] = None,
    name: Annotated[str | None, typer.Option("--name", help="What this computer is called there")] = None,
    save_only: Annotated[bool, typer.Option("--save-only", help="Don't start the bridge afterwards")] = False,
    qr: Annotated[bool, typer.Option("--qr/--no-qr", help="Show the code as a QR code too")] = True,
    config: Config = None,
    verbose: Verbose = False,
) -> int:
    """Remember a gateway, and stay connected to it."""
    from bridge.connecting import remember
    from bridge.running import Exit, serve

    undo = remember(config, url, pair=pair, token=token, name=name, qr=qr, say=say)
    try:
        return 0 if save_only else serve(config, verbose=verbose, say=say)
    except Exit as leave:
        if leave.token_refused:
            undo()
        raise

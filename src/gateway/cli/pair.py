"""`gateway pair`: who asks on a chat platform to be let in."""

from typing import Annotated

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Let in who asks on a chat platform."
)
Code = Annotated[str, typer.Argument(metavar="CODE")]


@app.command("list")
def list_pending(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Who asks, and with which code."""
    from gateway.cli.office import Office

    result = Office(config).ask("pairing.list")
    if as_json:
        print_json(result)
    else:
        print_table(result["pending"], ("code", "channel", "peer_id", "name", "expires_at"), "nobody asks")


@app.command()
def approve(
    code: Code,
    user: Annotated[str | None, typer.Option(help="Who it is; a new user <channel>-<peer> if left out.")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Let the sender in who was shown this code."""
    from gateway.cli.office import Office

    result = Office(config).ask("pairing.approve", code=code, user=user)
    if as_json:
        print_json(result)
    else:
        print(f"let in as {result['user']}")


@app.command()
def deny(code: Code, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Refuse the sender who was shown this code."""
    from gateway.cli.office import Office

    result = Office(config).ask("pairing.deny", code=code)
    if as_json:
        print_json(result)
    else:
        print("denied")

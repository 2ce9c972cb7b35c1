"""`gateway delivery`: what a platform refused, or whose fate is unknown."""

from typing import Annotated

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Messages that could not be delivered."
)


@app.command("list")
def list_deliveries(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """The refused and the unknown."""
    from gateway.cli.office import Office

    result = Office(config).ask("delivery.list")
    if as_json:
        print_json(result)
    else:
        columns = ("delivery_id", "channel", "chat_id", "state", "reason", "preview", "at")
        print_table(result["deliveries"], columns, "everything was delivered")


@app.command()
def resend(
    delivery_id: Annotated[str, typer.Argument(metavar="ID")],
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Send one again."""
    from gateway.cli.office import Office

    result = Office(config).ask("delivery.resend", delivery_id=delivery_id)
    if as_json:
        print_json(result)
    else:
        print("it is on its way again" if result.get("resent") else "nothing was sent again")

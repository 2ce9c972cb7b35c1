"""`gateway user`: the people of this gateway."""

from typing import Annotated

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table
from gateway.settings_server import Role

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Add, list, remove and invite people."
)
Name = Annotated[str, typer.Argument(metavar="USER")]


@app.command()
def add(
    user: Name,
    role: Annotated[Role | None, typer.Option(help="What he or she may do (user).")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Add a person."""
    from gateway.cli.office import Office

    result = Office(config).ask("user.add", user=user, role=role)
    if as_json:
        print_json(result)
    else:
        print(f"added {user}; invite by: gateway user invite {user}")
        if result.get("sessions"):
            typer.echo(
                f"{user} was here already, with {result['sessions']} conversations; for somebody else, first: "
                f"gateway user remove {user}", err=True,
            )  # fmt: skip


@app.command("list")
def list_users(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """The people there are."""
    from gateway.cli.office import Office

    result = Office(config).ask("user.list")
    if as_json:
        print_json(result)
    else:
        print_table(result["users"], ("user", "role", "created_at", "identities"), "no users")


@app.command()
def remove(user: Name, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Remove a person and all that is theirs, for good."""
    from gateway.cli.office import Office

    result = Office(config).ask("user.remove", user=user)
    if as_json:
        print_json(result)
    else:
        print(f"removed {user}, with tokens, links, bridges, conversations, memories and files")


@app.command()
def invite(user: Name, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """A link that logs a person in to the web chat, once."""
    from gateway.cli.office import Office

    office = Office(config)
    result = office.ask("user.invite", user=user)
    if as_json:
        print_json(result)
        return
    url = result.get("url") or f"{office.running.url if office.running else ''}/#login={result.get('code', '')}"
    print(url)
    typer.echo("It works once, within 24 hours.", err=True)
    if office.running is None:
        typer.echo("It works when the gateway runs: gateway run", err=True)

"""`gateway token`: credentials for people, programs and laptops. A secret is shown once."""

from typing import Annotated, get_args

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table
from gateway.settings_server import Role, Scope

app = typer.Typer(
    rich_markup_mode=None, add_completion=False, no_args_is_help=True, help="Create, list, rotate and revoke tokens."
)


def _scopes(values: list[str] | None) -> list[str]:
    words = [word for value in values or [] for word in value.replace(",", " ").split()]
    for word in words:
        if word not in get_args(Scope):
            raise typer.BadParameter(f"{word!r} is none of {', '.join(get_args(Scope))}")
    return words


@app.command()
def create(
    user: Annotated[str, typer.Option(help="Whose token it is.")],
    role: Annotated[Role, typer.Option(help="What the holder may do.")],
    scope: Annotated[
        list[str] | None, typer.Option(help="Only this part of the role; may be repeated.", callback=_scopes)
    ] = None,
    ttl: Annotated[str | None, typer.Option(help="How long it is valid: 30d, 12h, …")] = None,
    name: Annotated[str | None, typer.Option(help="A note, to know it by.")] = None,
    more: Annotated[list[str] | None, typer.Argument(hidden=True, callback=_scopes)] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Make a token; its secret is shown this once."""
    from gateway.cli.office import Office

    if more and not scope:
        raise typer.BadParameter(f"unexpected: {' '.join(more)}")
    scope = [*(scope or []), *(more or [])]  # `--scope chat tools` as well as `--scope chat --scope tools`
    result = Office(config).ask("token.create", user=user, role=role, scopes=scope or None, ttl=ttl, name=name)
    if as_json:
        print_json(result)
        return
    print(f"id      {result['id']}\nuser    {result['user']}\nrole    {result['role']}\ntoken   {result['token']}")
    typer.echo("Keep the token now: it is not shown again.", err=True)


@app.command("list")
def list_tokens(as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """The tokens there are, without their secrets."""
    from gateway.cli.office import Office

    result = Office(config).ask("token.list")
    if as_json:
        print_json(result)
    else:
        columns = ("id", "user", "role", "scopes", "name", "created_at", "expires_at")
        print_table(result["tokens"], columns, "no tokens")


@app.command()
def rotate(
    token_id: Annotated[str, typer.Argument(metavar="ID")],
    grace: Annotated[str | None, typer.Option(help="How long the old secret stays valid: 24h, …")] = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """Give a token a new secret; it keeps its id."""
    from gateway.cli.office import Office

    result = Office(config).ask("token.rotate", id=token_id, grace=grace)
    if as_json:
        print_json(result)
        return
    print(f"id      {result['id']}\ntoken   {result['token']}")
    typer.echo("Keep the token now: it is not shown again.", err=True)


@app.command()
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID")], as_json: JsonOption = False, config: ConfigOption = None
) -> None:
    """Make a token worthless. Its open connections close within a second."""
    from gateway.cli.office import Office

    result = Office(config).ask("token.revoke", id=token_id)
    if as_json:
        print_json(result)
    else:
        print(f"revoked {token_id}")

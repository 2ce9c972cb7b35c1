"""`gateway session`: conversations, seen by the administrator."""

import json
from typing import Annotated

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json, print_table
from gateway.observability.redaction import escape_controls

app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
    help="List, show, export and delete conversations.",
)
Key = Annotated[str, typer.Argument(metavar="KEY", help="As `session list` shows it.")]


@app.command("list")
def list_sessions(
    channel: Annotated[str | None, typer.Option(help="Only of this channel.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The latest conversations."""
    from gateway.cli.office import Office

    result = Office(config).ask("session.list", limit=limit, channel=channel)
    if as_json:
        print_json(result)
    else:
        print_table(result["sessions"], ("session_key", "title", "updated_at", "message_count"), "no sessions")


@app.command()
def show(
    key: Key,
    limit: Annotated[int, typer.Option(help="The last so many messages.")] = 50,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> None:
    """The last messages of a conversation."""
    from gateway.cli.office import Office

    result = Office(config).ask("chat.history", session_key=key, limit=limit)
    if as_json:
        print_json(result)
        return
    for message in result["messages"]:
        text = "\n".join(escape_controls(line) for line in str(message.get("text") or "").split("\n"))
        print(f"[{message['timestamp']}] {message['role']}: {text}")


@app.command()
def export(key: Key, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Every record of a conversation, one JSON line each."""
    from gateway.cli.office import Office

    result = Office(config).ask("session.export", session_key=key)
    if as_json:
        print_json(result)
        return
    for line in result["lines"]:
        print(line if isinstance(line, str) else json.dumps(line, ensure_ascii=False))


@app.command()
def delete(key: Key, as_json: JsonOption = False, config: ConfigOption = None) -> None:
    """Delete a conversation; an answer in progress is stopped."""
    from gateway.cli.office import Office

    result = Office(config).ask("session.delete", session_key=key)
    if as_json:
        print_json(result)
    else:
        print(f"deleted {escape_controls(key)}" if result.get("deleted") else "nothing was deleted")

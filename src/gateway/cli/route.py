"""`gateway route explain`: which agent answers somewhere, and which binding says so."""

from typing import Annotated

import typer

from gateway.cli.output import ConfigOption, JsonOption, print_json

app = typer.Typer(rich_markup_mode=None, add_completion=False, no_args_is_help=True)


@app.callback()
def route() -> None:
    """Which agent answers where."""


@app.command()
def explain(
    channel: Annotated[str, typer.Argument(help="telegram, discord, feishu, …")],
    peer: Annotated[str, typer.Argument(help="The sender's immutable id there.")],
    group: Annotated[str, typer.Option(help="The group's id, where it is said in one.")] = "",
    account: Annotated[str, typer.Option(help="The bot's own id.")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which agent answers PEER on CHANNEL, and why."""
    from agent.agents import route as decide
    from gateway.settings import load_settings

    settings = load_settings(config).settings
    found = decide(settings.bindings, channel=channel, peer=peer, group=group, account=account)
    profile = settings.agents.get(found.agent_id)
    models = (profile.models if profile is not None else []) or [model.name for model in settings.models] or ["demo"]
    answer = {
        "agent": found.agent_id,
        "reason": found.reason,
        "configured": profile is not None or found.agent_id == "main",
        "mode": (profile.mode if profile is not None else None) or settings.agent.mode,
        "models": models,
        "tools": profile.tools if profile is not None else ["*"],
    }
    if as_json:
        print_json(answer)
        return
    print(f"{found.agent_id}: {found.reason}")
    print(f"mode {answer['mode']} · models {', '.join(models)}")

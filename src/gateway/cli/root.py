"""The table of commands.

A command's module is imported when it is called, so that `--help` and `--version` answer
at once. Errors become exit codes in `exits.py`.
"""

import os
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command

from gateway import __version__

COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("gateway.cli.run", "Serve (what `gateway` alone does too)."),
    "chat": ("gateway.cli.chat", "Talk to the assistant in this terminal, or ask one question."),
    "init": ("gateway.cli.init", "Set up models and channels by a wizard."),
    "doctor": ("gateway.cli.doctor", "Find out what is wrong, and the next command."),
    "diag": ("gateway.cli.diag", "Write down what somebody who helps needs to know, without secrets."),
    "status": ("gateway.cli.status", "What the running gateway is doing."),
    "config": ("gateway.cli.config", "Check the configuration, or show what is in effect."),
    "token": ("gateway.cli.token", "Create, list, rotate and revoke tokens."),
    "user": ("gateway.cli.user", "Add, list, remove and invite people."),
    "pair": ("gateway.cli.pair", "Let in who asks on Telegram, Discord or Feishu."),
    "session": ("gateway.cli.session", "List, show, export and delete conversations."),
    "route": ("gateway.cli.route", "Which agent answers where, and why."),
    "delivery": ("gateway.cli.delivery", "Messages that could not be delivered."),
    "audit": ("gateway.cli.audit", "Read the audit log, and prove that nobody changed it."),
    "backup": ("gateway.cli.backup", "Write all state into one file, while serving too."),
    "service": ("gateway.cli.service", "Run in the background: systemd, launchd or a Windows task."),
    "completion": ("gateway.cli.completion", "Print the completion script of a shell."),
    "restore": ("gateway.cli.restore", "Bring back the state of a backup."),
}


class LazyCommands(TyperGroup):
    """A group whose commands are known by name and imported when they are called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = dict.fromkeys(COMMANDS)  # type: ignore[assignment]  # the names, for suggestions

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = get_command(import_module(COMMANDS[cmd_name][0]).app)
        command.name = cmd_name
        return command

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(
    cls=LazyCommands,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(value: bool) -> None:
    if value:
        print(f"gateway {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def gateway(
    ctx: typer.Context,
    config: Annotated[str | None, typer.Option(help="The configuration file.", metavar="FILE")] = None,
    host: Annotated[str | None, typer.Option(help="The address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="The port; 0 for any free one.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """One assistant for many people and many places. Without a command it serves."""
    if ctx.invoked_subcommand is not None:
        if config is not None:
            os.environ["GATEWAY_CONFIG"] = config
        if (host is not None or port is not None) and ctx.invoked_subcommand != "run":
            raise typer.BadParameter("--host and --port belong to `gateway run`")
        if host is not None:
            os.environ["GATEWAY__SERVER__HOST"] = host
        if port is not None:
            os.environ["GATEWAY__SERVER__PORT"] = str(port)
        return
    from gateway.cli.serving import serve_with

    raise typer.Exit(serve_with(config, host, port))

"""The table of commands, and the one place where errors become exit codes.

0 a clean stop, 2 a usage or configuration error (one line each), 3 refused for safety,
1 anything else. A command's module is imported when it is called, so that `--help`
and `--version` answer at once.
"""

import os
import sys
from collections.abc import Sequence
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
    "status": ("gateway.cli.status", "What the running gateway is doing."),
    "config": ("gateway.cli.config", "Check the configuration, or show what is in effect."),
    "token": ("gateway.cli.token", "Create, list, rotate and revoke tokens."),
    "user": ("gateway.cli.user", "Add, list, remove and invite people."),
    "pair": ("gateway.cli.pair", "Let in who asks on Telegram, Discord or Feishu."),
    "session": ("gateway.cli.session", "List, show, export and delete conversations."),
    "delivery": ("gateway.cli.delivery", "Messages that could not be delivered."),
    "audit": ("gateway.cli.audit", "Read the audit log, and prove that nobody changed it."),
    "backup": ("gateway.cli.backup", "Write all state into one file, while serving too."),
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
    from gateway.cli.run import run

    run(config=config, host=host, port=port)


def run_command_line(arguments: Sequence[str]) -> int:
    """Do what `arguments` say; the process's exit code."""
    from bridge.configuration import ConfigurationError
    from gateway.cli.output import Failure

    _speak_utf8()
    try:
        code = app(args=list(arguments), prog_name="gateway", standalone_mode=True)
    except SystemExit as leaving:
        return _code(leaving.code)
    except ConfigurationError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return error.exit_code
    except Failure as failure:
        for line in failure.lines:
            print(line, file=sys.stderr)
        return failure.exit_code
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:
        # who reads our output has seen enough; nothing may be flushed into the closed pipe at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the last resort: one line for people, the stack only for those who ask
        if os.environ.get("GATEWAY_DEBUG"):
            raise
        print(f"gateway: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return _code(code)


def _code(value: Any) -> int:
    return value if isinstance(value, int) else 0 if value is None else 1


def _speak_utf8() -> None:
    """People read Chinese here; a terminal that can't is shown replacements instead of a crash."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

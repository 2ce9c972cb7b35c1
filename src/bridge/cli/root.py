"""The commands of `ai-bridge`. Each is a few lines over a module that does the work, imported when it is needed.

Exit codes: 0 clean, 1 failed, 2 usage or configuration, 3 refused for safety (or by the gateway, where coming back
is no use), 4 a tool's own error, 5 denied or nobody there to ask. Results go to stdout, everything else to stderr.
"""

import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from bridge.cli import servers, serving, upkeep, watching
from bridge.cli.output import say, show
from bridge.running import exit_code
from bridge.version import VERSION

app = typer.Typer(
    name="ai-bridge", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]}, rich_markup_mode=None,
    help="Lends this computer's MCP servers to a chat gateway, under your policy.",
)  # fmt: skip
audit_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The hash-chained log of every call.")
service_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Running in the background.")
app.add_typer(audit_app, name="audit")
app.add_typer(service_app, name="service")
app.command()(serving.run)
app.command()(serving.connect)
app.command("import")(servers.import_servers)
app.command()(servers.check)
app.command()(servers.tools)
app.command()(servers.call)
app.command()(watching.status)
app.command()(watching.approve)
audit_app.command("tail")(watching.audit_tail)
audit_app.command("verify")(watching.audit_verify)
app.command()(upkeep.doctor)
service_app.command("install")(upkeep.service_install)
service_app.command("uninstall")(upkeep.service_uninstall)
app.command()(upkeep.diag)
app.command()(upkeep.completion)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version")] = False) -> None:
    if version:
        show(VERSION)
        raise typer.Exit


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Every error that a person can cause ends in a line, not in a stack."""
    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")  # a terminal that can't show Chinese shows marks instead of a crash

    def work() -> int:
        code = app(list(arguments), prog_name="ai-bridge", standalone_mode=False)
        return code if isinstance(code, int) else 0

    try:
        return exit_code(work, say)
    except typer.Exit as leave:
        return int(leave.exit_code)
    except typer.Abort:
        return 0
    except BrokenPipeError:  # who reads our output has seen enough; nothing may be flushed into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the last line of defence: a person gets a sentence; the stack is in -v's log
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    from typer.exceptions import TyperException

    from bridge.background import told_why
    from bridge.errors import BridgeError

    if isinstance(error, TyperException):  # an unknown command or option, a missing argument
        getattr(error, "show", lambda: say(str(error)))()
        return int(error.exit_code)
    if isinstance(error, BridgeError):
        say(error.message)
        return 5 if error.code in (2004, 2007) else 1
    if "-v" in sys.argv or "--verbose" in sys.argv:
        raise error
    say(f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else told_why(error))
    return 1

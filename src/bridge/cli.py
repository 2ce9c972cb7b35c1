"""The commands of `ai-bridge`. Each is a few lines over a module that does the work, imported when it is needed.

Exit codes: 0 clean, 1 failed, 2 usage or configuration, 3 refused for safety (or by the gateway, where coming back
is no use), 4 a tool's own error, 5 denied or nobody there to ask. Results go to stdout, everything else to stderr.
"""

import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from bridge.running import Exit
from bridge.version import VERSION

app = typer.Typer(
    name="ai-bridge", no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False,
    rich_markup_mode=None, help="Lends this computer's MCP servers to a chat gateway, under your policy.",
)  # fmt: skip
audit_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The hash-chained log of every call.")
service_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Running in the background.")
app.add_typer(audit_app, name="audit")
app.add_typer(service_app, name="service")

Config = Annotated[Path | None, typer.Option("--config", help="Default: $AI_BRIDGE_CONFIG, ~/.ai-bridge/config.yaml")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything")]


def run_command_line(arguments: Sequence[str]) -> int:
    """Run one command; the exit code. Every error that a person can cause ends in a line, not in a stack."""
    from bridge.configuration import ConfigurationError

    for stream in (sys.stdout, sys.stderr):
        if (reconfigure := getattr(stream, "reconfigure", None)) is not None:
            reconfigure(errors="replace")  # a terminal that can't show Chinese shows marks instead of a crash
    try:
        code = app(list(arguments), prog_name="ai-bridge", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except Exit as leave:
        _say(str(leave))
        return leave.code
    except ConfigurationError as error:
        _say(str(error))
        return error.exit_code
    except typer.Exit as leave:
        return int(leave.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return 0
    except BrokenPipeError:  # who reads our output has seen enough; nothing may be flushed into it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:  # the last line of defence: a person gets a sentence; the stack is in -v's log
        return _unexpected(error)


def _unexpected(error: Exception) -> int:
    from typer.exceptions import TyperException

    from bridge.errors import BridgeError

    if isinstance(error, TyperException):  # an unknown command or option, a missing argument
        getattr(error, "show", lambda: _say(str(error)))()
        return int(error.exit_code)
    if isinstance(error, BridgeError):
        _say(error.message)
        return 5 if error.code in (2004, 2007) else 1
    if "-v" in sys.argv or "--verbose" in sys.argv:
        raise error
    _say(f"{type(error).__name__}: {error}" if not isinstance(error, OSError) else _os_error(error))
    return 1


def _os_error(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)


def _say(text: str) -> None:
    if text:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def _print(value: Any) -> None:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# ---------------------------------------------------------------- run and connect


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Show the version")] = False) -> None:
    if version:
        _print(VERSION)
        raise typer.Exit


@app.command()
def run(config: Config = None, verbose: Verbose = False) -> int:
    """Start the servers and stay connected to the gateway."""
    from bridge.running import serve

    return serve(config, verbose=verbose, say=_say)


@app.command()
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
    from bridge.running import serve

    remember(config, url, pair=pair, token=token, name=name, qr=qr, say=_say)
    return 0 if save_only else serve(config, verbose=verbose, say=_say)


# ---------------------------------------------------------------- servers and tools


@app.command("import")
def import_servers(
    source: Annotated[str | None, typer.Option("--from", help="claude, cursor, vscode, windsurf, or a file")] = None,
    select: Annotated[str | None, typer.Option("--select", help="Names, separated by commas")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are found")] = False,
    config: Config = None,
) -> int:
    """Take over MCP servers from Claude, Cursor, Windsurf and VS Code."""
    from bridge.importing import run_import

    names = [name.strip() for name in select.split(",") if name.strip()] if select is not None else None
    return run_import(config, source, names, everything=everything, say=_say)


@app.command()
def check(config: Config = None, as_json: Json = False) -> int:
    """Start every server once and say whether it gets ready."""
    from bridge.loading import load
    from bridge.local import check as check_servers

    loaded = load(config)
    if not loaded.settings.mcp_servers:
        raise Exit(1, f"{loaded.path}: no MCP server is configured; next: ai-bridge import")
    failed = asyncio.run(check_servers(loaded, _say))
    bad = dict(failed)
    enabled = [server.name for server in loaded.settings.mcp_servers if server.enabled]
    if as_json:
        _print({"servers": [{"name": n, "ok": n not in bad, "reason": bad.get(n)} for n in enabled]})
    else:
        for name in enabled:
            _print(f"{name}: {bad[name]}" if name in bad else f"{name}: ready")
    return 1 if failed else 0


@app.command()
def tools(config: Config = None, as_json: Json = False) -> int:
    """List the tools as the gateway sees them, with the policy for each."""
    from bridge.loading import load
    from bridge.local import list_tools

    catalogue = asyncio.run(list_tools(load(config), _say))
    if as_json:
        _print(catalogue)
        return 0
    for tool in catalogue["tools"]:
        first = str(tool["description"]).strip().split("\n")[0]
        _print(f"{tool['name']}  [{tool['policy']}]  {first[:100]}".rstrip())
    return 0


@app.command()
def call(
    tool: Annotated[str, typer.Argument(help="The public name, e.g. fs_read_file")],
    arguments: Annotated[str, typer.Argument(metavar="JSON", help="The arguments, an object; '-' reads stdin")] = "{}",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Yes where the policy asks")] = False,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Call one tool, with no gateway at all. The policy is kept."""
    from bridge.loading import load
    from bridge.local import call as call_tool
    from bridge.local import text_of
    from bridge.terminal import ask_at_terminal, at_terminal, fill_form

    try:
        given = json.loads(sys.stdin.read() if arguments == "-" else arguments)
    except ValueError as error:
        raise Exit(2, f"the arguments are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise Exit(2, "the arguments must be a JSON object")
    present = at_terminal()
    result = asyncio.run(
        call_tool(
            load(config), tool, given, yes=yes, ask=ask_at_terminal if present else None, say=_say,
            question=fill_form if present else None,
        )
    )  # fmt: skip
    _print(result if as_json else text_of(result))
    return 4 if result.get("isError") is True else 0


# ---------------------------------------------------------------- the running bridge


@app.command()
def status(config: Config = None, as_json: Json = False) -> int:
    """What the running bridge does; exit 1 where none runs."""
    from bridge.loading import config_path
    from bridge.status import read_status
    from bridge.terminal import describe_status

    found = read_status(config_path(config).parent)
    if as_json:
        _print({"running": found.running, **found.told, **({} if found.running else {"next": "ai-bridge run"})})
    elif found.running:
        _print(describe_status(found.told))
    else:
        _print("no bridge is running; ai-bridge run starts it")
    return 0 if found.running else 1


@app.command()
def approve(
    challenge: Annotated[str | None, typer.Argument(metavar="ID", help="Without it, what waits is listed")] = None,
    decision: Annotated[str, typer.Option("--decision", help="allow_once, allow_session, allow_always")] = "allow_once",
    deny: Annotated[bool, typer.Option("--deny", help="Say no")] = False,
    config: Config = None,
) -> int:
    """Say yes (or no) to a call that waits for you."""
    from bridge.confirm import DECISIONS, waiting
    from bridge.confirm import approve as approve_challenge
    from bridge.database import Database
    from bridge.loading import config_path

    wanted = "deny" if deny else decision
    if wanted not in DECISIONS:
        raise Exit(2, f"--decision is one of {', '.join(sorted(DECISIONS))}")
    path = config_path(config).parent / "ledger.sqlite"
    if not path.exists():
        raise Exit(1, "nothing waits: no bridge has run here")
    database = Database(path)
    try:
        if challenge is None:
            for question in waiting(database):
                _print(f"{question['challenge']}  {question['tool']}  {question['arguments']}  ({question['risk']})")
            return 0
        if not approve_challenge(database, challenge, wanted):  # type: ignore[arg-type]
            raise Exit(1, f"{challenge[:64]}: unknown, answered already, or too late")
    finally:
        database.close()
    _print("denied" if wanted == "deny" else "allowed")
    return 0


@audit_app.command("tail")
def audit_tail(limit: Annotated[int, typer.Option("--limit", "-n", min=1)] = 50, config: Config = None) -> int:
    """The last records, one JSON line each."""
    from bridge.audit import tail
    from bridge.loading import config_path

    for record in tail(config_path(config).parent / "audit.jsonl", limit):
        _print(json.dumps(record, ensure_ascii=False))
    return 0


@audit_app.command("verify")
def audit_verify(config: Config = None) -> int:
    """Prove that nothing was edited or removed; exit 1 names the first bad record."""
    from bridge.audit import verify
    from bridge.loading import config_path

    verdict = verify(config_path(config).parent / "audit.jsonl")
    if not verdict.ok:
        raise Exit(1, f"audit.jsonl:{verdict.line}: {verdict.reason}")
    _print(f"{verdict.records} records, unbroken")
    return 0


@app.command()
def doctor(config: Config = None, as_json: Json = False) -> int:
    """Look for what is wrong; each finding names the next command."""
    from bridge.doctor import examine

    findings = list(examine(config, os.environ))
    if as_json:
        _print({"ok": all(one.ok for one in findings), "checks": [one.plain() for one in findings]})
    else:
        for one in findings:
            _print(f"{'ok  ' if one.ok else 'FAIL'} {one.name}: {one.detail}" + (f" -> {one.next}" if one.next else ""))
    return 0 if all(one.ok for one in findings) else 1


@service_app.command("install")
def service_install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done")] = False,
    config: Config = None,
) -> int:
    """Start the bridge with this computer: systemd, launchd, or a Windows task."""
    from bridge.loading import load
    from bridge.service import install

    install(load(config).path, dry_run=dry_run, show=_print, say=_say)
    return 0


@service_app.command("uninstall")
def service_uninstall(config: Config = None) -> int:
    """Stop it, and start it no more."""
    from bridge.loading import config_path
    from bridge.service import uninstall

    uninstall(config_path(config), _print)
    return 0


@app.command()
def diag(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to write; - for stdout")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Write down what somebody who helps needs to know, without secrets. Read it before you pass it on."""
    from bridge.diagnosis import as_text, collect, write

    told = collect(config, os.environ)
    text = json.dumps(told, ensure_ascii=False, indent=1) if as_json else as_text(told)
    if (as_json and file is None) or str(file) == "-":
        _print(text)
    else:
        _print(f"wrote {write(file, text, 'json' if as_json else 'txt')}")
    return 0


@app.command()
def completion(shell: Annotated[str, typer.Argument(help="bash, zsh, fish or pwsh")]) -> int:
    """Print the completion script of a shell: eval "$(ai-bridge completion bash)"."""
    from typer._completion_shared import Shells, get_completion_script

    if shell not in {each.value for each in Shells}:
        raise Exit(2, f"{shell[:20]}: one of {', '.join(each.value for each in Shells)}")
    _print(get_completion_script(prog_name="ai-bridge", complete_var="_AI_BRIDGE_COMPLETE", shell=shell))
    return 0

"""`import`, `check`, `tools` and `call`: the MCP servers of this computer, with no gateway at all."""

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.output import Config, Json, say, show
from bridge.running import Exit

if TYPE_CHECKING:
    from bridge.loading import Loaded


def import_servers(
    source: Annotated[str | None, typer.Option("--from", help="claude, cursor, vscode, windsurf, or a file")] = None,
    select: Annotated[str | None, typer.Option("--select", help="Names, separated by commas")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All that are found")] = False,
    config: Config = None,
) -> int:
    """Take over the MCP servers of other programs. Knows Claude, Cursor, Windsurf and VS Code."""
    from bridge.importing import run_import

    names = [name.strip() for name in select.split(",") if name.strip()] if select is not None else None
    return run_import(config, source, names, everything=everything, say=say)


def check(config: Config = None, as_json: Json = False) -> int:
    """Start every server once and say whether it gets ready."""
    from bridge.loading import check_safe, load
    from bridge.local import check as check_servers

    loaded = load(config)
    check_safe(loaded)
    if not loaded.settings.mcp_servers:
        raise Exit(1, _nothing_to_start(loaded))
    _name_whose_warning()
    failed = asyncio.run(check_servers(loaded, say))
    bad = dict(failed)
    enabled = [server.name for server in loaded.settings.mcp_servers if server.enabled]
    if as_json:
        show({"servers": [{"name": n, "ok": n not in bad, "reason": bad.get(n)} for n in enabled]})
    else:
        for name in enabled:
            show(f"{name}: {bad[name]}" if name in bad else f"{name}: ready")
    return 1 if failed else 0


def _nothing_to_start(loaded: "Loaded") -> str:
    return f"{loaded.path}: no MCP server is configured; next: ai-bridge import"


def _name_whose_warning() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")


def tools(config: Config = None, as_json: Json = False) -> int:
    """List the tools as the gateway sees them. Each with its policy."""
    from bridge.loading import load
    from bridge.local import list_tools

    loaded = load(config)
    if not loaded.settings.mcp_servers:
        say(_nothing_to_start(loaded))
    _name_whose_warning()
    catalogue = asyncio.run(list_tools(loaded, say))
    if as_json:
        show(catalogue)
        return 0
    for tool in catalogue["tools"]:
        first = str(tool["description"]).strip().split("\n")[0]
        show(f"{tool['name']}  [{tool['policy']}]  {first[:100]}".rstrip())
    return 0


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
    from bridge.terminal import ask_at_terminal, at_terminal, fill_form, for_terminal

    try:
        given = json.loads(sys.stdin.read() if arguments == "-" else arguments)
    except ValueError as error:
        raise Exit(2, f"the arguments are not JSON: {error}") from None
    if not isinstance(given, dict):
        raise Exit(2, "the arguments must be a JSON object")
    _name_whose_warning()
    present = at_terminal()
    result = asyncio.run(
        call_tool(
            load(config), tool, given, yes=yes, ask=ask_at_terminal if present else None, say=say,
            question=fill_form if present else None,
        )
    )  # fmt: skip
    show(result if as_json else for_terminal(text_of(result)))
    return 4 if result.get("isError") is True else 0

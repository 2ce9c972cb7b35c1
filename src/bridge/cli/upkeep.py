"""`doctor`, `diag`, `service`, `completion`: keeping it well."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from bridge.cli.output import Config, Json, say, show
from bridge.running import Exit


def doctor(config: Config = None, as_json: Json = False) -> int:
    """Look for what is wrong; each finding names the next command."""
    from bridge.doctor import examine

    findings = list(examine(config, os.environ))
    if as_json:
        show({"ok": all(one.ok for one in findings), "checks": [one.plain() for one in findings]})
    else:
        for one in findings:
            show(f"{'ok  ' if one.ok else 'FAIL'} {one.name}: {one.detail}" + (f" -> {one.next}" if one.next else ""))
    return 0 if all(one.ok for one in findings) else 1


def service_install(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be done")] = False,
    config: Config = None,
) -> int:
    """Start the bridge with this computer. By systemd, launchd, or a Windows task."""
    from bridge.loading import load
    from bridge.service import install

    install(load(config).path, dry_run=dry_run, show=show, say=say)
    return 0


def service_uninstall(config: Config = None) -> int:
    """Stop it, and start it no more."""
    from bridge.loading import config_path
    from bridge.service import uninstall

    uninstall(config_path(config), show)
    return 0


def diag(
    file: Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to write; - for stdout")] = None,
    config: Config = None,
    as_json: Json = False,
) -> int:
    """Write down what somebody who helps needs to know. It has no secrets; read it before you pass it on."""
    from bridge.diagnosis import as_text, collect, write

    told = collect(config, os.environ)
    text = json.dumps(told, ensure_ascii=False, indent=1) if as_json else as_text(told)
    if (as_json and file is None) or str(file) == "-":
        show(text)
    else:
        show(f"wrote {write(file, text, 'json' if as_json else 'txt')}")
    return 0


def completion(shell: Annotated[str, typer.Argument(help="bash, zsh, fish or pwsh")]) -> int:
    """Print the completion script of a shell. For bash: eval "$(ai-bridge completion bash)"."""
    from typer._completion_shared import Shells, get_completion_script

    if shell not in {each.value for each in Shells}:
        raise Exit(2, f"{shell[:20]}: one of {', '.join(each.value for each in Shells)}")
    show(get_completion_script(prog_name="ai-bridge", complete_var="_AI_BRIDGE_COMPLETE", shell=shell))
    return 0

"""What all commands share: three options, and the two ways to speak: results to stdout, everything else to stderr."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

Config = Annotated[Path | None, typer.Option("--config", help="Default: $AI_BRIDGE_CONFIG, ~/.ai-bridge/config.yaml")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable output")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Log everything")]


def say(text: str) -> None:
    """A line for the person, on stderr; nothing for an empty one."""
    if text:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def show(value: Any) -> None:
    """A result, on stdout: text as it is, anything else as JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()

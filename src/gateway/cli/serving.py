"""Serving, without the parser of the command line: a gateway that runs for months need not keep it in memory.

`plain` understands the arguments of `gateway [run]`, which is how it is started nearly always;
anything else (`--help`, a mistake) is left to `root.py`, whose typer costs 45 ms and 5 MiB.
"""

import asyncio
import gc
import sys
from collections.abc import Sequence
from typing import Any

_OPTIONS = ("--config", "--host", "--port")


def plain(arguments: Sequence[str]) -> dict[str, Any] | None:
    """The options of a plain `[run] [--config F] [--host H] [--port P]`, or None for anything else."""
    rest = list(arguments)
    if rest[:1] == ["run"]:
        rest = rest[1:]
    found: dict[str, Any] = {}
    while rest:
        name, sign, value = rest.pop(0).partition("=")
        if name not in _OPTIONS:
            return None
        if not sign:
            if not rest or rest[0].startswith("-"):
                return None
            value = rest.pop(0)
        found[name[2:]] = value
    port = found.get("port")
    if port is not None:
        if not port.isascii() or not port.isdigit():
            return None
        found["port"] = int(port)
    return found


def serve_with(config: str | None = None, host: str | None = None, port: int | None = None) -> int:
    """Load the settings, log, and serve until SIGTERM or Ctrl-C; the exit code. Raises ConfigurationError."""
    from gateway.settings import load_settings

    overrides: dict[tuple[str | int, ...], tuple[str, Any]] = {}
    if host is not None:
        overrides["server", "host"] = ("--host", host)
    if port is not None:
        overrides["server", "port"] = ("--port", port)
    loaded = load_settings(config, overrides=overrides)

    from gateway.app import serve
    from gateway.observability.logs import Logs
    from gateway.observability.redaction import Redactor, secrets_of

    logging = loaded.settings.logging
    redactor = Redactor(secrets_of(loaded.settings))
    try:
        logs = Logs(logging.level, logging.format, folder=loaded.home / "logs", redactor=redactor)
    except OSError as error:
        from gateway.cli.failure import Failure

        raise Failure(f"{error.filename or loaded.home}: {error.strerror or error}") from None
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    try:
        return asyncio.run(serve(loaded))
    finally:
        logs.close()
        gc.freeze()  # nothing is to be found any more: the interpreter's last look took longer than the shutdown

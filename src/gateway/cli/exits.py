"""The one place where errors become exit codes.

0 a clean stop, 2 a usage or configuration error (one line each), 3 refused for safety, 1 anything else.
"""

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.configuration import ConfigurationError
from gateway.cli.failure import Failure
from gateway.cli.serving import plain, serve_with


def run_command_line(arguments: Sequence[str]) -> int:
    """Do what `arguments` say; the process's exit code."""
    _speak_utf8()
    completing = "_GATEWAY_COMPLETE" in os.environ  # a shell asks what may follow: nothing is served
    options = None if completing else plain(arguments)
    if options is not None:
        return exit_code_of(lambda: serve_with(**options))
    from gateway.cli.root import app

    return exit_code_of(lambda: app(args=list(arguments), prog_name="gateway", standalone_mode=True))


def exit_code_of(work: Callable[[], Any]) -> int:
    """Do `work`, telling its errors to people."""
    try:
        try:
            code = work()
        except SystemExit as leaving:
            code = _code(leaving.code)
        sys.stdout.flush()  # here, where what can't be written is told, and not at exit
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
        _say_no_more()  # who reads our output has seen enough
        return 1
    except OSError as error:
        if os.environ.get("GATEWAY_DEBUG"):
            raise
        print(f"gateway: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        _say_no_more()
        return 1
    except Exception as error:  # the last resort: one line for people, the stack only for those who ask
        if os.environ.get("GATEWAY_DEBUG"):
            raise
        print(f"gateway: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return _code(code)


def _say_no_more() -> None:
    """Where our output can't be written, nothing is tried once more at exit: that would change the exit code."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _code(value: Any) -> int:
    return value if isinstance(value, int) else 0 if value is None else 1


def _speak_utf8() -> None:
    """People read Chinese here; a terminal that can't is shown replacements instead of a crash.

    Where a stream was closed (`<&-`, some daemons), Python has None there: nothing is read, and nobody is told.
    """
    nowhere = Path(os.devnull)  # open for as long as the process lives
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")

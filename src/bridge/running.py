"""`ai-bridge run`: from a configuration to a running bridge and its exit code.

Apart from `cli/`, so that a bridge that runs for weeks does not carry the command line's library. Below is `app.py`.
"""

import asyncio
import contextlib
import ctypes
import gc
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from bridge.configuration import ConfigurationError

_M_ARENA_MAX = -8
"""mallopt(3): each thread would otherwise get a heap of its own."""


class Exit(Exception):
    """Leave with this code, having said this; `token_refused` where the gateway has never taken the token."""

    def __init__(self, code: int, message: str = "", *, token_refused: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.token_refused = token_refused


def serve(config: Path | None, *, verbose: bool, say: Callable[[str], None]) -> int:
    """Run the bridge until it is stopped; 0. Raises Exit, ConfigurationError."""
    from bridge.loading import check_link, load

    signal.signal(signal.SIGTERM, _leave)  # until the bridge is put together and stops in its own way
    loaded = load(config)
    check_link(loaded)
    from bridge.app import Bridge, start_logging
    from bridge.database import NewerDatabase
    from bridge.pidfile import AlreadyRunning
    from bridge.tunnel import TunnelRefused

    start_logging(verbose)
    _slim()
    # What exists now stays; and a call should not pay for looking through the young objects so often.
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        asyncio.run(Bridge(loaded, say).run())
    except AlreadyRunning as error:
        raise Exit(1, f"{error}; ai-bridge status shows it") from None
    except TunnelRefused as refused:
        raise Exit(3, f"the gateway: {refused}", token_refused=refused.token) from None
    except NewerDatabase as error:
        raise Exit(1, str(error)) from None
    return 0


def _slim() -> None:
    """Fewer threads and fewer heaps: a bridge waits for weeks on a laptop."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    if sys.version_info < (3, 12):  # later ones do this by themselves
        with contextlib.suppress(OSError, AttributeError):
            os.close(os.pidfd_open(os.getpid()))
            asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


def plain_run(arguments: list[str]) -> tuple[Path | None, bool] | None:
    """`(config, verbose)` of a plain `run [--config F] [-v]`; None for anything else, which `cli/` understands."""
    if arguments[:1] != ["run"]:
        return None
    config, verbose, rest = None, False, arguments[1:]
    while rest:
        word = rest.pop(0)
        if word in ("-v", "--verbose"):
            verbose = True
        elif word == "--config" and rest and not rest[0].startswith("-"):
            config = Path(rest.pop(0))
        elif word.startswith("--config=") and len(word) > 9:
            config = Path(word[9:])
        else:
            return None
    return config, verbose


def exit_code(work: Callable[[], int], say: Callable[[str], None]) -> int:
    """What `work` returns; what a person may bring about is said and becomes its code. Anything else is raised."""
    try:
        return work()
    except Exit as leave:
        say(str(leave))
        return leave.code
    except ConfigurationError as error:
        say(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        return 0


def run_plainly(config: Path | None, verbose: bool, say: Callable[[str], None]) -> int:
    """`serve`, with every error said and turned into its exit code."""
    try:
        return exit_code(lambda: serve(config, verbose=verbose, say=say), say)
    except Exception as error:  # the last line of defence: a person gets a sentence, the stack with -v
        if verbose:
            raise
        say(f"{type(error).__name__}: {error}")
        return 1


def _leave(number: int, frame: object) -> None:
    raise KeyboardInterrupt

"""`python -m gateway`, and the script `gateway`."""

import signal
import sys

_STOPPING = ("SIGTERM", "SIGHUP", "SIGBREAK")


def main() -> None:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] == "run" or arguments[0].startswith("-"):
        _stop_cleanly_from_the_start()
    try:
        from gateway.cli.exits import run_command_line

        sys.exit(run_command_line(arguments))
    except KeyboardInterrupt:  # Ctrl-C while this was still being imported
        sys.exit(0)


def _stop_cleanly_from_the_start() -> None:
    """What serves takes the signals over when it is put together; until then there is nothing to finish."""
    for name in _STOPPING:
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, _leave)


def _leave(_number: int, _frame: object) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()

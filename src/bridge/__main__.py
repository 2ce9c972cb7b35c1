"""`python -m bridge`, and the script `ai-bridge`."""

import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        for name in ("SIGTERM", "SIGHUP", "SIGBREAK"):  # until the bridge is put together and stops in its own way
            number = getattr(signal, name, None)
            if number is not None and not (name == "SIGHUP" and signal.getsignal(number) is signal.SIG_IGN):
                signal.signal(number, _leave)  # `nohup` means what it says
    try:
        from bridge.running import plain_run, run_plainly

        plain = plain_run(arguments)
        if plain is not None:
            sys.exit(run_plainly(*plain, _say))
        from bridge.cli.root import run_command_line

        sys.exit(run_command_line(arguments))
    except KeyboardInterrupt:  # Ctrl-C while this was still being imported
        sys.exit(0)


def _leave(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _say(text: str) -> None:
    if text:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()

"""`python -m bridge`, and the script `ai-bridge`."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from bridge.running import plain_run, run_plainly

    plain = plain_run(sys.argv[1:])
    if plain is not None:
        sys.exit(run_plainly(*plain, _say))
    from bridge.cli.root import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


def _say(text: str) -> None:
    if text:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


if __name__ == "__main__":
    main()

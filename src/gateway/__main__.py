"""`python -m gateway`, and the script `gateway`."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from gateway.cli.exits import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()

"""`python -m bridge`, and the script `ai-bridge`."""

import sys


def main() -> None:
    """Run the command line and leave with its exit code."""
    from bridge.cli import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()

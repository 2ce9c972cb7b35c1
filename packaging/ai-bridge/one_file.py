"""Where the single file begins: the bridge, or with `--guardian` the small process that outlives it by a moment."""

import sys


def main() -> None:
    """`ai-bridge`, as built by `make bridge-binary`."""
    if sys.argv[1:2] == ["--guardian"]:
        from bridge.guardian import main as guard

        guard()
        return
    from bridge.__main__ import main as run

    run()


if __name__ == "__main__":
    main()

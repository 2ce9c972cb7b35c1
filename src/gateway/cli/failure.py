"""What went wrong, as lines and an exit code. Knows no command and no parser, so that serving need not load them."""


class Failure(Exception):
    """A command that could not do what it was asked: each line goes to stderr."""

    def __init__(self, *lines: str, exit_code: int = 1) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines
        self.exit_code = exit_code

"""The numbers of `/metrics` in Prometheus' text format (0.0.4), read when they are asked for.

Nothing is counted on the way of a delta: each neighbour keeps its own plain numbers.
"""

from collections.abc import Mapping

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


class Page:
    """One answer in the making."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def add(self, name: str, kind: str, explanation: str, values: Mapping[str, float] | float, label: str = "") -> None:
        """A metric: one number, or one for each value of `label`."""
        self._lines.append(f"# HELP {name} {explanation}")
        self._lines.append(f"# TYPE {name} {kind}")
        if isinstance(values, int | float):
            self._lines.append(f"{name} {values}")
            return
        for value, number in values.items():
            self._lines.append(f'{name}{{{label}="{value.translate(_ESCAPES)}"}} {number}')

    def render(self) -> bytes:
        """The text."""
        return ("\n".join(self._lines) + "\n").encode()

"""`docker run` and `podman run` as MCP servers: ending the client process alone would leave the container running.

Below `stdio.py` and `groups.py`. The container's id is written by the tool itself into a file of ours (`--cidfile`),
and `rm -f` by that id is what ends it.
"""

import secrets
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_FOLDER = "ai-bridge-"
_TOOLS = frozenset({"docker", "podman", "nerdctl"})


@dataclass(frozen=True, slots=True)
class Container:
    """How to end what a `run` started. `arguments` replace the configured ones."""

    tool: str
    cidfile: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]

    def remove(self) -> None:
        """Let the tool end the container. Blocks for up to ten seconds; call it from a thread."""
        with suppress(OSError, subprocess.TimeoutExpired):
            identity = Path(self.cidfile).read_text().strip()
            if identity:
                subprocess.run(
                    [self.tool, "rm", "-f", identity], env=dict(self.environment), stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10, check=False,
                )  # fmt: skip
        self.forget()

    def prepare(self) -> None:
        """Make the folder for the id, for this person alone. Raises OSError, also where somebody was there first."""
        if self._in_own_folder:
            Path(self.cidfile).parent.mkdir(mode=0o700)

    def forget(self) -> None:
        """Take the id's file away, and its folder where it is ours."""
        with suppress(OSError):
            Path(self.cidfile).unlink(missing_ok=True)  # a `run` that failed has written none
            if self._in_own_folder:
                Path(self.cidfile).parent.rmdir()

    @property
    def _in_own_folder(self) -> bool:
        return Path(self.cidfile).parent.name.startswith(_FOLDER)


def container_of(command: str, arguments: Sequence[str], environment: Mapping[str, str]) -> Container | None:
    """The container that this command line would start, or None where it starts none. Touches no disk."""
    name = Path(command).stem.lower()
    if name not in _TOOLS or "run" not in arguments:
        return None
    place = arguments.index("run")
    if place > 0 and arguments[place - 1] not in ("container",) and not arguments[0].startswith("-"):
        return None
    for number, argument in enumerate(arguments[place:]):
        if argument == "--cidfile" or argument.startswith("--cidfile="):
            own = argument.partition("=")[2] or next(iter(arguments[place + number + 1 :]), "")
            return Container(command, own, tuple(arguments), environment) if own else None  # the tool will say so
    cidfile = str(Path(tempfile.gettempdir(), _FOLDER + secrets.token_hex(8), "cid"))
    told = (*arguments[: place + 1], "--cidfile", cidfile, *arguments[place + 1 :])
    return Container(command, cidfile, told, environment)

"""Pictures of the terminal, made from the real thing: `make images` (the browser's come from tests/browser).

A gateway is started on a free port with a fresh state folder, `gateway` is asked in a pseudo-terminal, and what it
printed is drawn as SVG by rich.
"""

import contextlib
import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.text import Text

DOCS = Path(__file__).resolve().parent
COLUMNS, ROWS = 96, 40
SHOWN = [
    (["gateway", "chat", "what time is it?"], "gateway"),
    (["gateway", "chat", "count to 12"], "gateway"),
    (["gateway", "doctor"], "gateway"),
]


@contextlib.contextmanager
def gateway(environ: dict[str, str]) -> Iterator[None]:
    """A gateway that serves for as long as the block runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "run", "--port", "0"], env=environ, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, cwd=environ["HOME"],
    )  # fmt: skip
    assert process.stdout is not None
    try:
        for line in process.stdout:
            if line.startswith("feishu"):
                break
        else:
            raise SystemExit("the gateway did not start")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.stdout.close()
        process.wait(30)


def printed(arguments: list[str], module: str, environ: dict[str, str]) -> str:
    """What a command prints at a terminal."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(environ["HOME"])
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments[1:]], environ)
    data, until = b"", time.monotonic() + 30
    with contextlib.suppress(OSError):  # the end, on Linux
        while time.monotonic() < until:
            if select.select([terminal], [], [], 1)[0]:
                piece = os.read(terminal, 65_536)
                if not piece:
                    break
                data += piece
    os.waitpid(child, 0)
    return data.decode("utf-8", "replace").replace("\r\n", "\n")


def drawn(text: str) -> str:
    """What stands on the screen in the end: rich draws a live answer anew by going up and clearing lines (ECMA-48)."""
    lines, row = [""], 0
    for piece in re.split(r"(\n|\r|\x1b\[\d*A|\x1b\[2?[JK])", text):
        if piece == "\n":
            row += 1
            if row >= len(lines):
                lines.append("")
        elif piece.endswith("A") and piece.startswith("\x1b["):
            row = max(0, row - int(piece[2:-1] or 1))
        elif piece.endswith("K") and piece.startswith("\x1b["):
            lines[row] = ""
        elif piece != "\r":
            lines[row] += piece
    return "\n".join(lines)


def steady(text: str, home: str) -> str:
    """Without what differs from run to run."""
    text = text.replace(home, "~")
    text = re.sub(r"pid \d+", "pid 4711", text)
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:8080", text)
    text = re.sub(r"\d+ GiB free", "76 GiB free", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", "2026-01-01T09:00:00", text)
    text = re.sub(r'("weekday": ")[A-Z][a-z]+', r"\1Thursday", text)
    return re.sub(r'"unix": \d+', '"unix": 1767258000', text)


def main() -> None:
    """Write docs/images/terminal.svg."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    with tempfile.TemporaryDirectory() as home:
        environ = {
            "PATH": os.environ["PATH"], "HOME": home, "GATEWAY_HOME": f"{home}/.gateway", "TERM": "xterm-256color",
            "COLUMNS": str(COLUMNS), "LINES": str(ROWS), "LANG": "C.UTF-8", "PYTHONPATH": str(DOCS.parent / "src"),
        }  # fmt: skip
        with gateway(environ):
            for arguments, module in SHOWN:
                words = " ".join(f'"{word}"' if " " in word else word for word in arguments)
                console.print(Text(f"$ {words}", style="bold green"))
                console.print(Text.from_ansi(steady(drawn(printed(arguments, module, environ)), home).strip("\n")))
    target = DOCS / "images" / "terminal.svg"
    target.parent.mkdir(exist_ok=True)
    svg = console.export_svg(title="busgate", unique_id="terminal")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # nothing from elsewhere
    svg = re.sub(r"<!--.*?-->\s*", "", svg, flags=re.DOTALL)
    target.write_text(svg, encoding="utf-8")
    sys.stdout.write(f"wrote {target.relative_to(DOCS.parent)}\n")


if __name__ == "__main__":
    main()

"""Drawing on a terminal: Markdown by finished blocks, the growing block below, tools beside.

A finished block is drawn once and scrolls away like any output; only the growing one is
redrawn, a dozen times a second at most. What came from a model or a tool is shown
without control characters. This module knows events and no connection.
"""

import json
import time
from typing import Any

from rich.cells import chop_cells
from rich.console import Console
from rich.live import Live
from rich.markdown import Markdown
from rich.padding import Padding
from rich.text import Text

from channels.cli.blocks import REDRAW_SECONDS, finished
from channels.cli.follow import Event, failure
from channels.cli.words import readable, revealed, say

CANCELLED = 1009


class Screen:
    """One terminal. `language` is `en` or `zh`."""

    def __init__(self, console: Console, language: str) -> None:
        self.console = console
        self.language = language
        self.behind = False
        """Whether more has grown than is drawn: then `catch_up` is due when nothing comes for a moment."""
        self._growing = ""
        self._shown = ""
        self._live: Live | None = None
        self._drawn_at = 0.0
        self._tools: dict[str, str] = {}

    def show(self, event: Event) -> None:
        """Draw one event."""
        kind = event["type"]
        if kind == "chat.delta":
            self._delta(str(event.get("delta", "")))
        elif kind == "chat.started":
            if self._shown + self._growing:
                self.settle()
                self.notice(say("afresh", self.language))
            self._shown = self._growing = ""
        elif kind == "chat.done":
            self._done(event)
        elif kind == "chat.error":
            self.settle()
            self._shown = ""
            if event.get("code") == CANCELLED:
                self.notice(say("cut", self.language))
            else:
                self.error(failure(event))
        elif kind == "chat.message":
            self.settle()
            self.console.print(Text(f"[{event.get('channel')}] {readable(str(event.get('text', '')))}", style="cyan"))
        elif kind.startswith("tool."):
            self._tool(kind, event)
        elif kind == "agent.note" and event.get("text"):
            self.notice(f"{event.get('agent')}: {event.get('text')}")
        elif kind == "approval.resolved":
            decision = str(event.get("decision"))
            self.notice(say(decision, self.language) if decision in ("deny", "expired") or "allow" in decision else "")

    def notice(self, text: str) -> None:
        """A dim line of ours."""
        if text:
            self.settle()
            self.console.print(Text(readable(text), style="dim"))

    def error(self, text: str) -> None:
        """A red line of ours."""
        self.settle()
        self.console.print(Text(readable(text), style="bold red"))

    def approval(self, event: Event) -> None:
        """What is asked, with everything the yes would stand for."""
        self.settle()
        self.console.print(Text(say("ask", self.language, tool=readable(str(event.get("tool")))), style="bold yellow"))
        if event.get("risk"):
            self.console.print(Text(readable(str(event["risk"])), style="yellow"))
        arguments = json.dumps(event.get("arguments"), ensure_ascii=False, indent=2)
        self.console.print(Padding(Text(revealed(arguments)), (0, 0, 0, 2)))

    def settle(self) -> None:
        """Draw what still grows as it is, and leave the line free for others."""
        self._finish_blocks()
        growing, self._growing = self._growing, ""
        self._clear()
        if growing.strip():
            self._block(growing)
            self._shown += growing

    def catch_up(self) -> None:
        """Draw what is finished, and the growing block as it is now."""
        self._drawn_at = time.monotonic()
        self._finish_blocks()
        self.behind = False
        if self._growing:
            self._draw()

    def _delta(self, delta: str) -> None:
        self._growing += delta
        self.behind = True
        if time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self.catch_up()

    def _finish_blocks(self) -> None:
        """Draw the blocks that are whole. Not with each delta: it reads the growing text from its beginning."""
        blocks, rest = finished(self._growing)
        if blocks:
            self._clear()
            for block in blocks:
                self._block(block)
            self._shown += self._growing[: len(self._growing) - len(rest)]
            self._growing = rest

    def _done(self, event: Event) -> None:
        text = str(event.get("text") or "")
        seen = self._shown + self._growing
        if text.startswith(seen):
            self._growing += text[len(seen) :]
        elif text.strip() != seen.strip():  # something was missed on the way: the whole answer, once
            self.settle()
            self._growing = text
        self.settle()
        self._shown = ""
        reason = event.get("finish_reason")
        if reason in ("cancelled", "length"):
            self.notice(say("cut" if reason == "cancelled" else "length", self.language))

    def _tool(self, kind: str, event: Event) -> None:
        call = str(event.get("call_id"))
        if kind == "tool.started":
            self._tools[call] = str(event.get("name"))
            arguments = json.dumps(event.get("arguments"), ensure_ascii=False)
            self.notice(f"⚙ {event.get('name')} {_short(arguments, self.console.width - 20)}")
        elif kind == "tool.progress":
            if event.get("message"):
                self.notice(f"  … {_short(str(event['message']), 100)}")
        else:
            name = self._tools.pop(call, "")
            mark = "✗" if event.get("is_error") else "✓"
            preview = _short(" ".join(str(event.get("preview") or "").split()), self.console.width - 30)
            self.notice(f"{mark} {name} {event.get('duration_ms', 0)} ms {preview}")

    def _block(self, block: str) -> None:
        text = readable(block.strip("\n"))
        if "```" not in text and "~~~" not in text:
            text = text.replace("\n", "  \n")  # in a chat the end of a line is meant
        self.console.print(Markdown(text, code_theme="ansi_dark", hyperlinks=False))
        self.console.print()

    def _draw(self) -> None:
        rows, columns = max(3, self.console.height - 3), max(2, self.console.width)
        tail = readable(self._growing[-rows * columns :]).expandtabs().split("\n")
        lines = [piece for line in tail for piece in chop_cells(line, columns) or [""]][-rows:]
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True, vertical_overflow="crop")
            self._live.start()
        self._live.update(Text("\n".join(lines)), refresh=True)

    def _clear(self) -> None:
        self.behind = False
        if self._live is not None:
            self._live.update(Text(""), refresh=True)
            self._live.stop()
            self._live = None


def _short(text: str, width: int) -> str:
    width = max(width, 20)
    return text if len(text) <= width else text[: width - 1] + "…"


def terminal(file: Any = None) -> Console:
    """A console on stdout."""
    return Console(file=file, highlight=False, soft_wrap=False, emoji=False, markup=False)

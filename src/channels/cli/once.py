"""One turn and out: for pipes, scripts and quick questions.

The answer goes to stdout, everything else to stderr. Into a pipe it is written when it is
whole, so that a restart in between leaves nothing half said; on a terminal it streams.
"""

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from channels.cli.blocks import REDRAW_SECONDS
from channels.cli.follow import TERMINAL, Event, failure
from channels.cli.link import Link
from channels.cli.words import say

if TYPE_CHECKING:  # drawing is for terminals: a pipe does not pay for it
    from channels.cli.screen import Screen


async def ask_once(
    link: Link,
    text: str,
    key: str,
    *,
    as_json: bool,
    screen: "Screen | None",
    out: TextIO,
    errors: TextIO,
    language: str,
) -> int:
    """Say `text` and write the answer; the exit code. `screen` draws where stdout is a terminal."""

    def changed(connected: bool) -> None:
        if not connected:
            print(say("lost", language), file=errors)

    link.changed = changed
    async with Interrupts(link) as interrupts:
        message_id = await link.send(text, key)
        while True:
            event = await next_event(link, screen)
            if event.get("message_id") not in (None, "", message_id):
                continue
            if as_json:
                print(json.dumps(event, ensure_ascii=False), file=out, flush=True)
            elif screen is not None:
                screen.show(event)
            if event["type"] == "approval.requested" and not as_json:
                approval = say("waiting", language, tool=event.get("tool"), id=event.get("approval_id"))
                print(approval, file=errors)
            if event["type"] in TERMINAL:
                return _end(
                    event, quiet=as_json or screen is not None, out=out, errors=errors, stopped=interrupts.pressed
                )


async def next_event(link: Link, screen: "Screen | None") -> Event:
    """The next event; where none comes for a moment, what has grown is drawn meanwhile."""
    if screen is not None and screen.behind:
        try:
            async with asyncio.timeout(REDRAW_SECONDS):
                return await link.events.get()
        except TimeoutError:
            screen.catch_up()
    return await link.events.get()


def _end(event: Event, *, quiet: bool, out: TextIO, errors: TextIO, stopped: bool) -> int:
    if event["type"] == "chat.error":
        if not quiet:
            print(failure(event), file=errors)
        return 0 if stopped else 1
    if not quiet:
        text = str(event.get("text") or "")
        out.write(text if text.endswith("\n") else text + "\n")
        out.flush()
    return 0


class Interrupts:
    """While this is open Ctrl-C aborts the turn, and a second one leaves."""

    def __init__(self, link: Link, told: Callable[[], None] = lambda: None) -> None:
        """`told` is called at the first press."""
        self._link = link
        self._told = told
        self._aborting: asyncio.Task[None] | None = None
        self._leave: Callable[[], object] = sys.exit
        self._installed = False

    @property
    def pressed(self) -> bool:
        """Whether the turn was told to stop."""
        return self._aborting is not None

    async def __aenter__(self) -> "Interrupts":
        task = asyncio.current_task()
        assert task is not None
        self._leave = task.cancel
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, or not the main thread
            asyncio.get_running_loop().add_signal_handler(signal.SIGINT, self._press)
            self._installed = True
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._installed:
            asyncio.get_running_loop().remove_signal_handler(signal.SIGINT)
        if self._aborting is not None:
            self._aborting.cancel()
            await asyncio.gather(self._aborting, return_exceptions=True)

    def _press(self) -> None:
        if self._aborting is not None:
            self._leave()
        else:
            self._told()
            self._aborting = asyncio.get_running_loop().create_task(self._link.abort())

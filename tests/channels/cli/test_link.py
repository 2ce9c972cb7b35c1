"""The terminal's connection where it is cut at a bad moment."""

import asyncio
from pathlib import Path

import pytest

from channels.cli.link import Link
from tests.e2e.gateway_process import ALICE, gateway_process


async def test_what_is_said_the_moment_the_line_is_cut_holds_nobody_up(tmp_path: Path) -> None:
    """A socket that has closed refuses at once: asking it without a pause would keep everybody from noticing."""
    async with gateway_process(tmp_path / "home", {}) as gateway:
        link = Link(gateway.ws, ALICE)
        link.session = "here"
        running = asyncio.create_task(link.run())
        await asyncio.wait_for(link.ready(), 10)
        assert await asyncio.wait_for(link.send("a word", "key-1"), 10)
        running.cancel()  # the line closes, and nobody is there to see it
        await asyncio.wait([running])
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.send("another", "key-2"), 0.3)

"""A pipeline that only writes down what an adapter hands it: for tests of one adapter by itself."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from channels.base import BaseChannel, Incoming, Reaction, Tap


class Shelf(dict[str, str]):
    """Notes kept over a restart."""

    async def note(self, name: str) -> str | None:
        return self.get(name)

    async def keep_note(self, name: str, value: str) -> None:
        self[name] = value


@dataclass
class Notebook:
    """`incoming`, `taps` and `reactions` in the order of arrival; `hold` delays, as an overloaded gateway does."""

    incoming: list[Incoming] = field(default_factory=list)
    taps: list[Tap] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    hold: asyncio.Event = field(default_factory=asyncio.Event)
    note: str = ""
    notes: Shelf = field(default_factory=Shelf)

    def __post_init__(self) -> None:
        self.hold.set()

    async def message(self, channel: BaseChannel, incoming: Incoming) -> None:
        await self.hold.wait()
        self.incoming.append(incoming)

    async def tap(self, channel: BaseChannel, tap: Tap) -> None:
        self.taps.append(tap)
        await tap.tell(self.note)

    async def reaction(self, channel: BaseChannel, reaction: Reaction) -> None:
        self.reactions.append(reaction)

    def agent_of(self, *_: object) -> str:
        return "main"

    @property
    def texts(self) -> list[str]:
        return [incoming.text for incoming in self.incoming]


Made = TypeVar("Made", bound=BaseChannel)


@asynccontextmanager
async def connected(channel: Made) -> AsyncIterator[Made]:
    """An adapter by itself, started, and running until the end."""
    await channel.start()
    task = asyncio.create_task(channel.run())
    try:
        await until(lambda: channel.state.state == "ready" or task.done())
        if task.done():
            await task
        yield channel
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await channel.stop()


async def until(condition: Any, seconds: float = 8.0) -> None:
    """Wait until `condition()` is true."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)

"""Letters in a folder, as a channel of busgate.

The platform's limits: 100,000 characters a letter; no edits, threads, buttons or reactions. A letter is
`in/<person>/<name>.txt`; it is taken away when it is durable in the gateway. The answer is
`out/<person>/<name>-<nonce>.txt`, so a repetition writes the same file again.
"""

import asyncio
import re
from pathlib import Path
from typing import ClassVar

from channels.base import Address, BaseChannel, Capabilities, Content, Incoming, Text
from channels.errors import ChannelUnavailable, DeliveryRejected
from channels.inbound import InboundPipeline
from channels.ports import Identity, Place
from channels.settings import ChannelSettings

CAPABILITIES = Capabilities(
    max_chars=100_000, edits=False, buttons=False, typing=False, reactions=False, threads=False, nonce_seconds=3600
)
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
MAX_BYTES = 400_000


class LettersSettings(ChannelSettings):
    """`channels.letters`: what every channel has, and where the letters are."""

    folder: Path
    look_seconds: float = 0.2


def parse_letter(path: Path, data: bytes, at: float) -> Incoming:
    """A letter. Raises ValueError for what is none."""
    person, name = path.parent.name, path.stem
    if not _NAME.match(person) or not _NAME.match(name):
        raise ValueError("names are of letters, digits, - and _")
    identity = Identity(channel="letters", account="folder", peer=person, name=person)
    place = Place(channel="letters", account="folder", kind="direct", chat=person)
    return Incoming(
        key=f"{person}/{name}/{int(at)}", identity=identity, place=place, text=data.decode("utf-8"), message_id=name,
        at=at, addressed=True,
    )  # fmt: skip


def render_letter(content: Content) -> bytes:
    """What is written into the answer."""
    if isinstance(content, Text):
        return content.markdown.encode() + b"\n"
    return content.data


class LettersChannel(BaseChannel):
    """One folder. `in` is read, `out` is written."""

    name: ClassVar[str] = "letters"
    settings_model: ClassVar[type[ChannelSettings]] = LettersSettings

    def __init__(self, settings: LettersSettings, inbound: InboundPipeline) -> None:
        super().__init__(settings, CAPABILITIES, inbound)
        self._look_seconds = settings.look_seconds
        self._in, self._out = settings.folder / "in", settings.folder / "out"

    async def start(self) -> None:
        """Make the folders. Raises ChannelUnavailable."""
        self.account = "folder"
        try:
            for folder in (self._in, self._out):
                folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ChannelUnavailable(str(error.strerror)) from error

    async def run(self) -> None:
        """Look for letters until cancelled."""
        self.mark("ready")
        while True:
            for path in await asyncio.to_thread(lambda: sorted(self._in.glob("*/*.txt"))):
                await self._take(path)
            await asyncio.sleep(self._look_seconds)

    async def _take(self, path: Path) -> None:
        try:
            if path.stat().st_size > MAX_BYTES:
                raise ValueError("too long")
            letter = parse_letter(path, path.read_bytes(), path.stat().st_mtime)
        except FileNotFoundError:
            return
        except (OSError, ValueError):
            path.rename(path.with_suffix(".refused"))
            return
        await self.receive(letter)  # returns when it is durable, or refused
        path.unlink(missing_ok=True)

    async def stop(self) -> None:
        """Nothing is open."""

    async def send(
        self, to: Address, content: Content, *, reply_to: str | None = None, nonce: str = "", final: bool = True
    ) -> str:
        """Write the answer. Raises ChannelUnavailable, DeliveryRejected."""
        name = f"{reply_to or 'note'}-{nonce[-8:]}"
        if to.kind != "direct" or not _NAME.match(to.chat) or not _NAME.match(name):
            raise DeliveryRejected("there is no such letter box")
        target = self._out / to.chat / f"{name}.txt"
        try:
            await asyncio.to_thread(self._write, target, render_letter(content))
        except OSError as error:
            raise ChannelUnavailable(str(error.strerror)) from error
        return name

    @staticmethod
    def _write(target: Path, data: bytes) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        part.write_bytes(data)
        part.replace(target)

"""A channel as a stranger would write it, in another package: an office where people leave notes.

The smallest complete adapter, and the example of `docs/adding-a-channel.md`. The
platform is an object in memory, found by its name in the settings; it has no
threads, no drafts and no nonce. `test_paper_contract.py` puts it under the contract.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import ClassVar

from channels.base import (
    Address,
    BaseChannel,
    Capabilities,
    Content,
    Incoming,
    Media,
    MediaHandle,
    Rate,
    Tap,
    Text,
)
from channels.errors import ChannelAuthFailed, ChannelUnavailable, DeliveryRejected, OutcomeUnknown, RateLimited
from channels.inbound import InboundPipeline
from channels.ports import Identity, Place
from channels.settings import ChannelSettings

CAPABILITIES = Capabilities(
    max_chars=500, typing=False, reactions=False, threads=False, direct_rate=Rate(20, 20), group_rate=Rate(20, 20),
    edit_seconds=0.2, group_edit_seconds=0.2, first_seconds=0.2,
)  # fmt: skip


@dataclass
class Note:
    """A note on the wall, or in the letter box."""

    number: str
    room: str
    person: str
    text: str
    mentioned: bool = False
    edits: str | None = None
    bot: bool = False
    file: bytes | None = None
    mime: str = ""
    buttons: list[tuple[str, str]] = field(default_factory=list)
    pressed: str | None = None


class Office:
    """The platform: a letter box in, walls out, and trouble on request."""

    def __init__(self) -> None:
        self.letters: list[Note] = []
        self.walls: dict[str, dict[str, Note]] = {}
        self.faults: list[str] = []
        self.closed = False
        self.keys_changed = False
        self.numbers = itertools.count(1)

    def post(self, note: Note) -> None:
        self.letters.append(note)

    def check(self) -> None:
        if self.keys_changed:
            raise PermissionError
        if self.closed:
            raise ConnectionRefusedError

    def pin(self, note: Note) -> None:
        """Show or replace a note. May fail before, or after."""
        self.check()
        fault = self.faults.pop(0) if self.faults and note.number not in self.walls.get(note.room, {}) else ""
        if fault not in ("", "answer_lost"):
            raise RuntimeError(fault)
        self.walls.setdefault(note.room, {})[note.number] = note
        if fault:
            raise TimeoutError


OFFICES: dict[str, Office] = {}


class PaperSettings(ChannelSettings):
    office: str = "main"
    key: str = ""


def parse_note(note: Note, press: Callable[[str], Awaitable[None]]) -> Incoming | Tap:
    """A letter as ours."""
    group = note.room.startswith("room-")
    place = Place(channel="paper", account="office", kind="group" if group else "direct", chat=note.room)
    who = Identity(channel="paper", account="office", peer=note.person, name=f"P{note.person}", bot=note.bot)
    if note.pressed is not None:
        return Tap(key=note.number, identity=who, place=place, data=note.pressed, message_id=note.number, tell=press)
    return Incoming(
        key=note.number, identity=who, place=place, text=note.text, message_id=note.number, at=time.time(),
        addressed=note.mentioned or not group, edits=note.edits, media=_files(note),
    )  # fmt: skip


def _files(note: Note) -> tuple[MediaHandle, ...]:
    if note.file is None:
        return ()
    data = note.file

    async def fetch(limit: int) -> bytes:
        return data

    kind = "image" if note.mime.startswith("image/") else "file"
    return (MediaHandle(kind=kind, mime=note.mime, name="file", size=len(data), fetch=fetch),)


def render(content: Content) -> tuple[str, list[tuple[str, str]]]:
    """Text and buttons of a note."""
    if isinstance(content, Media):
        return f"[{'photo' if content.mime.startswith('image/') else 'file'}]", []
    below = f"\n\n{content.activity}" if content.activity else ""
    return content.markdown + below, [(b.label, b.data) for row in content.buttons for b in row]


class PaperChannel(BaseChannel):
    """Looks into the letter box ten times a second."""

    name: ClassVar[str] = "paper"
    settings_model = PaperSettings

    def __init__(self, settings: PaperSettings, inbound: InboundPipeline) -> None:
        super().__init__(settings, CAPABILITIES, inbound)
        self._office = OFFICES[settings.office]

    async def start(self) -> None:
        self.account = "office"
        self._look()

    def _look(self) -> None:
        try:
            self._office.check()
        except PermissionError as error:
            raise ChannelAuthFailed("the key does not fit") from error
        except ConnectionRefusedError as error:
            raise ChannelUnavailable("the office is closed") from error

    async def run(self) -> None:
        while True:
            self._look()
            self.mark("ready")
            for letter in list(self._office.letters):
                await self._take(letter)
                self._office.letters.remove(letter)
            await asyncio.sleep(0.02)

    async def _take(self, letter: Note) -> None:
        async def press(_: str) -> None:
            return None

        match parse_note(letter, press):
            case Incoming() as incoming:
                await self.receive(incoming)
            case Tap() as tap:
                await self.receive_tap(tap)

    async def stop(self) -> None:
        return None

    async def send(
        self, to: Address, content: Content, *, reply_to: str | None = None, nonce: str = "", final: bool = True
    ) -> str:
        number = f"n{next(self._office.numbers)}"
        self._pin(to, number, content)
        return number

    async def edit(self, to: Address, message_id: str, content: Text, *, final: bool = True) -> None:
        self._pin(to, message_id, content)

    async def delete(self, to: Address, message_id: str) -> None:
        self._office.walls.get(to.chat, {}).pop(message_id, None)

    def _pin(self, to: Address, number: str, content: Content) -> None:
        text, buttons = render(content)
        try:
            self._office.pin(Note(number, to.chat, "", text, buttons=buttons))
        except (PermissionError, ConnectionRefusedError) as error:
            raise ChannelUnavailable("the office is closed") from error
        except TimeoutError as error:
            raise OutcomeUnknown("nobody said whether it hangs") from error
        except RuntimeError as error:
            raise {"rate_limited": RateLimited(0.3), "unavailable": ChannelUnavailable("no pins")}.get(
                str(error), DeliveryRejected("not wanted here")) from error  # fmt: skip

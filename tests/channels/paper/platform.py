"""The office of `tests/fakes/paper_channel.py` and its people."""

import asyncio
import itertools
import time
from typing import Any

from bus.events import Actor, InboundMessage
from bus.keys import SessionKey
from tests.channels.rig import Rig
from tests.contracts.channel_contract import FakePlatform, Fault
from tests.fakes.paper_channel import OFFICES, Note, Office


class PaperPlatform(FakePlatform):
    name = "paper"
    remembers_nonces = False
    limit = 500
    group = "room-1"
    other_group = "room-2"
    has_threads = False

    def __init__(self) -> None:
        self.office = Office()
        self.said: list[Note] = []
        self.numbers = itertools.count(1)

    async def start(self) -> None:
        OFFICES["main"] = self.office

    async def stop(self) -> None:
        del OFFICES["main"]

    def section(self) -> dict[str, Any]:
        return {}

    def _post(self, note: Note) -> str:
        self.said.append(note)
        self.office.post(note)
        return note.number

    async def person_says(
        self, text: str, *, person: str = "42", group: str | None = None, mentioned: bool = False,
        thread: str | None = None, bot: bool = False,
    ) -> str:  # fmt: skip
        return self._post(Note(f"l{next(self.numbers)}", group or person, person, text, mentioned, bot=bot))

    async def person_edits(self, message_id: str, text: str, *, person: str = "42") -> None:
        self._post(Note(f"l{next(self.numbers)}", person, person, text, edits=message_id))

    async def person_sends(self, data: bytes, *, kind: str = "photo", caption: str = "", person: str = "42") -> str:
        mime = "image/png" if kind == "photo" else "application/octet-stream"
        return self._post(Note(f"l{next(self.numbers)}", person, person, caption, file=data, mime=mime))

    async def person_taps(self, label: str, *, person: str = "42", group: str | None = None) -> None:
        notes = self.office.walls[group or person].values()
        data = next(data for note in notes for text, data in note.buttons if label in text)
        self._post(Note(f"l{next(self.numbers)}", group or person, person, "", pressed=data))

    async def has_button(self, label: str, *, person: str = "42", group: str | None = None) -> bool:
        notes = self.office.walls.get(group or person, {}).values()
        return any(label in text for note in notes for text, _ in note.buttons)

    async def visible(self, *, person: str = "42", group: str | None = None, thread: str | None = None) -> list[str]:
        return [note.text for note in self.office.walls.get(group or person, {}).values()]

    async def fail_next(self, fault: Fault, times: int = 1) -> None:
        self.office.faults = [*self.office.faults, *[fault] * times] if times else []

    async def outage(self, on: bool) -> None:
        self.office.closed = on

    async def deliver_again(self) -> None:
        self.office.post(self.said[-1])

    async def refuse_token(self, refused: bool) -> None:
        self.office.keys_changed = refused


async def shown(paper: PaperPlatform, *texts: str, group: str | None = None) -> None:
    async with asyncio.timeout(10):
        while await paper.visible(group=group) != list(texts):
            await asyncio.sleep(0.01)


def elsewhere(rig: Rig, session: SessionKey, user: str = "paper-42") -> InboundMessage:
    return InboundMessage(
        session=session, actor=Actor(user=user), text="from the browser", message_id="msg_ws", received_at=time.time(),
        idempotency_key="k", origin="ws-1",
    )  # fmt: skip

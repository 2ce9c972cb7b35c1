"""Files on their way in: measured before they are downloaded, kept, and voices written down.

A file that is too large, can't be fetched or isn't understood is named in the
text instead, so that nothing a person sent vanishes without a word.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from bus.errors import GatewayError, TooLarge
from bus.events import Actor, MediaRef
from channels.base import MediaHandle
from channels.errors import ChannelError
from channels.ports import MediaStore, Transcriber
from channels.text import clean

log = logging.getLogger(__name__)
MOST_FILES = 20


@dataclass(frozen=True, slots=True)
class Taken:
    """`texts` belong to the message's text; `too_large` are names to tell the sender."""

    refs: tuple[MediaRef, ...]
    texts: tuple[str, ...]
    too_large: tuple[str, ...]


class Attachments:
    """Takes handles, gives references."""

    def __init__(self, store: MediaStore, transcriber: Transcriber | None) -> None:
        self._store = store
        self._transcriber = transcriber

    async def take(self, handles: Sequence[MediaHandle], actor: Actor, limit: int) -> Taken:
        """Fetch what is at most `limit` bytes, and keep it for the actor's user."""
        refs: list[MediaRef] = []
        texts: list[str] = []
        too_large: list[str] = []
        for handle in handles[:MOST_FILES]:
            name = clean(handle.name).replace("\n", " ")[:200] or handle.kind
            try:
                if handle.size is not None and handle.size > limit:
                    raise TooLarge(name)
                data = await handle.fetch(limit)
                refs.append(await self._store.save(data, mime=handle.mime, name=name, owner=actor.user))
            except TooLarge:
                too_large.append(name)
                texts.append(f"[{handle.kind} {name}: too large, not taken]")
                continue
            except (ChannelError, GatewayError) as error:
                log.warning("a file could not be taken: %s", error)
                texts.append(f"[{handle.kind} {name}: could not be fetched]")
                continue
            if handle.kind == "voice" and (spoken := await self._written(data, handle, name)):
                texts.append(spoken)
        if len(handles) > MOST_FILES:
            texts.append(f"[{len(handles) - MOST_FILES} more files: not taken]")
        return Taken(tuple(refs), tuple(texts), tuple(too_large))

    async def _written(self, data: bytes, handle: MediaHandle, name: str) -> str:
        if self._transcriber is None:
            return ""
        try:
            return clean(await self._transcriber.transcribe(data, mime=handle.mime, name=name)).strip()
        except Exception as error:  # of somebody else's server: whatever it does, the voice message itself is kept
            log.warning("a voice message could not be written down: %s", type(error).__name__)
            return ""

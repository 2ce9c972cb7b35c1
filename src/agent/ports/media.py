"""What the agent needs of files: their bytes, and a place for what tools give."""

from typing import Protocol

from bus.events import MediaRef


class MediaReader(Protocol):
    """The bytes behind a MediaRef, for the model and for tools."""

    async def read(self, ref: MediaRef, owner: str) -> bytes:
        """Raises NotFound where it isn't this user's."""
        ...


class MediaStore(MediaReader, Protocol):
    """Keeps what tools give, too."""

    async def save(self, data: bytes, *, mime: str, name: str, owner: str) -> MediaRef:
        """Raises TooLarge, BadParameters for an impossible type, Overloaded where the disk refuses."""
        ...

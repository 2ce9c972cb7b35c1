"""Reading what a platform sends back, in bounds. Below the adapters; knows no platform and opens no connection."""

from typing import TYPE_CHECKING

from bus.errors import TooLarge

if TYPE_CHECKING:
    import aiohttp

_CHUNK = 65_536


async def read_at_most(answer: "aiohttp.ClientResponse", limit: int) -> bytes:
    """The body of `answer`. Raises TooLarge as soon as it is clear that it has more than `limit` bytes; aiohttp's."""
    if (answer.content_length or 0) > limit:
        raise TooLarge
    body = bytearray()
    async for piece in answer.content.iter_chunked(_CHUNK):
        body += piece
        if len(body) > limit:
            raise TooLarge
    return bytes(body)

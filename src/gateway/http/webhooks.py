"""`POST /webhooks/<channel>`: a platform's call, handed to its channel.

The channel checks the platform's secret, and reads the body itself, so that a call
without the secret is refused before anything is read. A route whose channel isn't
configured for webhooks is 404.
"""

from aiohttp import web

from channels.manager import ChannelManager
from gateway.http.exchange import read_body

BODY_SECONDS = 10.0


class Webhooks:
    """The routes of the platforms."""

    def __init__(self, channels: ChannelManager) -> None:
        self._channels = channels

    def routes(self) -> list[web.RouteDef]:
        """For the listener."""
        return [web.post("/webhooks/{channel}", self.call)]

    async def call(self, request: web.Request) -> web.StreamResponse:
        """One call."""

        async def body(limit: int) -> bytes:
            return await read_body(request, limit, BODY_SECONDS)

        reply = await self._channels.webhook(request.match_info["channel"], request.headers, body)
        return web.Response(
            body=reply.body, status=reply.status, content_type=reply.content_type, headers=dict(reply.headers)
        )

"""`POST /webhooks/<channel>`: a platform's calls, handed to its channel, which checks the secret before it reads."""

from aiohttp import web

from bus.errors import NotFound
from channels.manager import ChannelManager
from gateway.http.exchange import read_body

WEBHOOK_BYTES = 4 * 1024 * 1024
WEBHOOK_SECONDS = 10.0


class WebhookRoutes:
    """One route for all channels; one that takes no webhooks is not found."""

    def __init__(self, channels: ChannelManager) -> None:
        self._channels = channels

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/webhooks/{channel}", self.webhook)]

    async def webhook(self, request: web.Request) -> web.Response:
        """The channel's reply."""

        async def read(limit: int = WEBHOOK_BYTES) -> bytes:
            return await read_body(request, min(limit, WEBHOOK_BYTES), WEBHOOK_SECONDS)

        reply = await self._channels.webhook(request.match_info["channel"], request.headers, read)
        if reply.status == 404:
            raise NotFound("there is nothing here")
        return web.Response(
            status=reply.status, body=reply.body, headers={"Content-Type": reply.content_type} | dict(reply.headers)
        )

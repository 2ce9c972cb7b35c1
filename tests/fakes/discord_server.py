"""A fake Discord on loopback: REST v10, the gateway socket and the CDN, with Discord's rules and its faults.

Start it inside a test (`async with FakeDiscord()`), or as a process of its own:
`python -m tests.fakes.discord_server` (see `remote.py`). `world` holds what
people see; `gateway` breaks sockets; `faults` breaks requests.
"""

import asyncio
import time
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.fakes.discord_gateway import Gateway
from tests.fakes.discord_rest import Rest
from tests.fakes.discord_world import Object, World, now, snowflake, user

API = "/api/v10"


class FakeDiscord:
    """`bucket`: (requests, seconds) that a channel's messages allow, or None."""

    def __init__(self, token: str = "discord-token", *, bot_id: str = "900", bucket: tuple[int, float] | None = None):
        self.token = token
        self.world = World(user(bot_id, "assistant", bot=True))
        self.gateway = Gateway(token, self._ready, self.world.guild_objects)
        self.rest = Rest(token, self.world, self.gateway)
        self.rest.bucket = bucket
        self.faults = self.rest.faults
        self._runner: web.AppRunner | None = None
        self.port = 0

    # life

    async def start(self, port: int = 0) -> "FakeDiscord":
        """Listen on loopback."""
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("GET", "/gateway-socket", self.gateway.handle)
        application.router.add_route("GET", "/cdn/{file}/{name}", self.rest.cdn)
        application.router.add_route("*", API + "/{path:.*}", self.rest.handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port or self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self.rest.base = f"http://127.0.0.1:{self.port}"
        return self

    async def stop(self) -> None:
        """Refuse connections from now on; `start` brings it back on the same port with the same world."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await self.gateway.cut()
            await runner.cleanup()

    async def __aenter__(self) -> "FakeDiscord":
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def api_url(self) -> str:
        """What `channels.discord.api_url` is set to."""
        return f"http://127.0.0.1:{self.port}{API}"

    @property
    def socket_url(self) -> str:
        """The gateway's address."""
        return f"ws://127.0.0.1:{self.port}/gateway-socket"

    def _ready(self, session_id: str) -> Object:
        return {
            "v": 10,
            "user": self.world.bot,
            "guilds": [{"id": guild, "unavailable": True} for guild in self.world.guild_names],
            "private_channels": [],
            "session_id": session_id,
            "session_type": "normal",
            "resume_gateway_url": self.socket_url,
            "application": {"id": self.world.bot["id"], "flags": 1 << 19},
            "shard": [0, 1],
        }

    # what people do

    async def says(self, user_id: str, text: str, *, channel: str | None = None, times: int = 1, **more: Any) -> str:
        """A person writes, in private unless `channel` is named; the message's id."""
        place = channel or self.world.private_channel(user_id)["id"]
        author = more.pop("author", None) or user(user_id)
        message = self.world.add(place, author, text, **more)
        await self.gateway.dispatch("MESSAGE_CREATE", message, times=times)
        return str(message["id"])

    async def edits(self, message_id: str, text: str) -> None:
        """A person changes a message."""
        for messages in self.world.messages.values():
            for message in messages:
                if message["id"] == message_id:
                    message.update(content=text, edited_timestamp=now())
                    await self.gateway.dispatch("MESSAGE_UPDATE", message)

    async def uploads(self, user_id: str, data: bytes, *, name: str, mime: str, text: str = "", **more: Any) -> str:
        """A person sends a file."""
        channel = more.get("channel") or self.world.private_channel(user_id)["id"]
        return await self.says(
            user_id, text, attachments=[self.rest.attach(data, name=name, mime=mime)], **{**more, "channel": channel}
        )

    async def presses(self, user_id: str, message_id: str, custom_id: str) -> str:
        """A person taps a button; the interaction's token."""
        for channel_id, messages in self.world.messages.items():
            for message in messages:
                if message["id"] == message_id:
                    data = {"custom_id": custom_id, "component_type": 2}
                    return await self._interact(user_id, channel_id, 3, data, message)
        raise KeyError(message_id)

    async def invokes(
        self, user_id: str, name: str, *, channel: str | None = None, options: Object | None = None
    ) -> str:
        """A person uses a slash command; the interaction's token."""
        place = channel or self.world.private_channel(user_id)["id"]
        chosen = [{"name": k, "type": 3, "value": v} for k, v in (options or {}).items()]
        return await self._interact(
            user_id, place, 2, {"id": snowflake(), "name": name, "type": 1, "options": chosen}, None
        )

    async def _interact(self, user_id: str, channel_id: str, kind: int, data: Object, message: Object | None) -> str:
        token = f"interaction-{snowflake()}"
        channel = self.world.channels[channel_id]
        event: Object = {
            "id": snowflake(),
            "application_id": self.world.bot["id"],
            "type": kind,
            "data": data,
            "channel_id": channel_id,
            "channel": channel,
            "token": token,
            "version": 1,
            "locale": "en-US",
            "entitlements": [],
            "authorizing_integration_owners": {},
            "attachment_size_limit": 1 << 23,
        }
        if "guild_id" in channel:
            event["guild_id"] = channel["guild_id"]
            event["member"] = {"user": user(user_id), "roles": [], "joined_at": now(), "deaf": False, "mute": False,
                               "flags": 0, "permissions": "0"}  # fmt: skip
        else:
            event["user"] = user(user_id)
        if message is not None:
            event["message"] = message
        self.rest.interactions[token] = {"id": event["id"], "at": time.monotonic(), "channel_id": channel_id,
                                    "message": message, "answers": []}  # fmt: skip
        await self.gateway.dispatch("INTERACTION_CREATE", event)
        return token

    def visible(self, user_id: str = "", *, channel: str | None = None) -> list[str]:
        """The bot's texts as this person sees them now."""
        return self.world.visible(channel or self.world.private_channel(user_id)["id"])

    def sent(self, method: str, piece: str) -> list[Any]:
        """The bodies of the requests whose path holds `piece`."""
        return [body for verb, path, body in self.rest.requests if verb == method and piece in path]


if __name__ == "__main__":
    from tests.fakes.remote import serve

    asyncio.run(serve(lambda arguments: FakeDiscord(**arguments)))

"""A fake Feishu on loopback: open API, long connection, webhook, cards, files, with Feishu's rules and its faults.

Start it inside a test (`async with FakeFeishu()`), or as a process of its own
(`python -m tests.fakes.feishu_server`, see `remote.py`): the official SDK blocks
its loop, so beside it the fake must live elsewhere.
"""

import asyncio
import json
from types import TracebackType
from typing import Any

from aiohttp import web

from tests.fakes.feishu_rest import Rest
from tests.fakes.feishu_socket import LongConnection, Push, Webhook
from tests.fakes.feishu_world import Object, World, milliseconds, new


class FakeFeishu:
    """`connection` breaks sockets, `rest.faults` breaks requests, `world` holds what people see."""

    def __init__(self, app_id: str = "cli_app", app_secret: str = "feishu-secret", *, encrypt_key: str = "encrypt-key",
                 verification_token: str = "verification-token") -> None:  # fmt: skip
        self.app_id = app_id
        self.app_secret = app_secret
        self.bot_open_id = "ou_bot"
        self.verification_token = verification_token
        self.world = World()
        self.rest = Rest(app_id, app_secret, self.bot_open_id, self.world)
        self.faults = self.rest.faults
        self.connection = LongConnection(app_id, app_secret)
        self.webhook = Webhook(encrypt_key, verification_token)
        self.port = 0
        self._runner: web.AppRunner | None = None
        self._repeat: asyncio.Task[None] | None = None

    async def start(self, port: int = 0) -> "FakeFeishu":
        """Listen on loopback."""
        application = web.Application(client_max_size=64 << 20)
        application.router.add_post("/callback/ws/endpoint", self._endpoint)
        application.router.add_get("/ws", self.connection.handle)
        application.router.add_route("*", "/open-apis/{path:.*}", self.rest.handle)
        self._runner = web.AppRunner(application, shutdown_timeout=0.2, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port or self.port).start()
        self.port = self._runner.addresses[0][1]
        self._repeat = asyncio.create_task(self.connection.repeat())
        return self

    async def stop(self) -> None:
        """Refuse connections from now on; `start` brings it back on the same port with the same world."""
        if self._repeat is not None:
            self._repeat.cancel()
            await asyncio.gather(self._repeat, return_exceptions=True)
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await self.connection.drop(politely=False)
            await runner.cleanup()

    async def __aenter__(self) -> "FakeFeishu":
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.stop()

    async def _endpoint(self, request: web.Request) -> web.StreamResponse:
        return await self.faults.around(request, self.connection.endpoint)

    @property
    def domain(self) -> str:
        """What `channels.feishu.domain` is set to."""
        return f"http://127.0.0.1:{self.port}"

    # what people do

    def chat_of(self, open_id: str) -> str:
        """The private chat with this person."""
        return str(self.world.chat(f"oc_{open_id}")["chat_id"])

    async def says(self, open_id: str, text: str, *, chat: str | None = None, times: int = 1, **more: Any) -> str:
        """A person writes a text, in private unless `chat` is named; the message's id."""
        return await self.sends(open_id, "text", {"text": text}, chat=chat, times=times, **more)

    async def sends(
        self, open_id: str, kind: str, content: Object, *, chat: str | None = None, times: int = 1, **more: Any
    ) -> str:
        """A person sends a message of any kind; pushed `times` times under one event_id."""
        place = self.world.chat(chat or self.chat_of(open_id))
        message_id = new("om")
        message: Object = {
            "message_id": message_id,
            "create_time": milliseconds(),
            "update_time": milliseconds(),
            "chat_id": place["chat_id"],
            "chat_type": "p2p" if place["chat_type"] == "p2p" else "group",
            "message_type": kind,
            "content": json.dumps(content, ensure_ascii=False),
        } | more
        stored = {
            **message,
            "msg_type": kind,
            "sender": {"sender_type": "user"},
            "body": {"content": message["content"]},
        }
        self.world.messages[message_id] = stored
        await self.happens("im.message.receive_v1", {"sender": sender(open_id), "message": message}, times=times)
        return message_id

    async def happens(self, event_type: str, event: Object, *, times: int = 1) -> Push:
        """Push an event over the long connection."""
        return await self.connection.push(self.event(event_type, event), times=times)

    def event(self, event_type: str, event: Object, event_id: str = "") -> Object:
        """An event of schema 2.0."""
        header = {
            "event_id": event_id or new("ev"),
            "event_type": event_type,
            "create_time": milliseconds(),
            "token": self.verification_token,
            "app_id": self.app_id,
            "tenant_key": "tenant",
        }
        return {"schema": "2.0", "header": header, "event": event}

    def message_event(self, open_id: str, text: str, event_id: str = "") -> Object:
        """A text in private as an event, for the webhook."""
        message_id = new("om")
        message = {"message_id": message_id, "create_time": milliseconds(), "chat_id": self.chat_of(open_id),
                   "chat_type": "p2p", "message_type": "text", "content": json.dumps({"text": text})}  # fmt: skip
        self.world.messages[message_id] = {**message, "msg_type": "text", "sender": {"sender_type": "user"},
                                           "body": {"content": message["content"]}}  # fmt: skip
        return self.event("im.message.receive_v1", {"sender": sender(open_id), "message": message}, event_id)

    async def presses(self, open_id: str, message_id: str, value: Object) -> Push:
        """A person taps a card's button; the push holds the answer (toast, card) once it came."""
        message = self.world.messages[message_id]
        return await self.happens("card.action.trigger", {
            "operator": {"open_id": open_id, "tenant_key": "tenant"},
            "token": new("c"),
            "action": {"value": value, "tag": "button"},
            "host": "im_message",
            "context": {"open_message_id": message_id, "open_chat_id": message["chat_id"]},
        })  # fmt: skip

    async def reacts(self, open_id: str, message_id: str, emoji: str = "OK") -> None:
        """A person puts a reaction."""
        await self.happens("im.message.reaction.created_v1", {
            "message_id": message_id, "reaction_type": {"emoji_type": emoji}, "operator_type": "user",
            "user_id": {"open_id": open_id}, "action_time": milliseconds(),
        })  # fmt: skip

    def upload(self, data: bytes, mime: str) -> str:
        """Put a person's file where the bot may fetch it; its key."""
        key = new("img" if mime.startswith("image/") else "file")
        self.world.files[key] = (data, mime)
        return key

    def visible(self, open_id: str = "", *, chat: str | None = None) -> list[str]:
        """The bot's texts as this person sees them now."""
        return self.world.visible(chat or self.chat_of(open_id))

    def sent(self, method: str, piece: str) -> list[Any]:
        """The bodies of the requests whose path holds `piece`."""
        return [body for verb, path, body in self.rest.requests if verb == method and piece in path]


def sender(open_id: str, kind: str = "user") -> Object:
    """Who sent it."""
    return {"sender_id": {"open_id": open_id, "union_id": f"on_{open_id}", "user_id": None}, "sender_type": kind,
            "tenant_key": "tenant"}  # fmt: skip


def mention(bot_open_id: str, key: str = "@_user_1", name: str = "assistant") -> Object:
    """An entry of `mentions`."""
    return {"key": key, "id": {"open_id": bot_open_id, "union_id": "on_bot"}, "name": name, "tenant_key": "tenant"}


if __name__ == "__main__":
    from tests.fakes.remote import serve

    asyncio.run(serve(lambda arguments: FakeFeishu(**arguments)))

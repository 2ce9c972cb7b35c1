"""Platforms as the contract's reader imagines them: a Bot API and a Discord of their own, a few lines each."""

import asyncio
import itertools
import json
from typing import Any

from aiohttp import web


class Server:
    """An HTTP server on loopback."""

    def __init__(self) -> None:
        self.app = web.Application(client_max_size=1 << 26)
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.changed = asyncio.Event()

    async def __aenter__(self) -> Any:
        self.runner = web.AppRunner(self.app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.port = self.runner.addresses[0][1]
        self.url = f"http://127.0.0.1:{self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.runner.cleanup()

    def note(self, name: str, params: dict[str, Any]) -> None:
        self.calls.append((name, params))
        self.changed.set()

    def of(self, *names: str) -> list[dict[str, Any]]:
        return [params for name, params in self.calls if name in names]

    async def until(self, found: Any, seconds: float = 10) -> Any:
        try:
            async with asyncio.timeout(seconds):
                while not (value := found()):
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            raise AssertionError(
                f"not in {seconds} s: {self.calls[-8:]} shown {getattr(self, 'shown', None)}"
            ) from None
        return value


class Telegram(Server):
    """The Bot API."""

    def __init__(self) -> None:
        super().__init__()
        self.queue: list[dict[str, Any]] = []
        self.numbers = itertools.count(100)
        self.shown: dict[int, dict[int, dict[str, Any]]] = {}
        self.script: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.secret: str | None = None
        self.app.router.add_route("*", "/bot{token}/{method}", self.handle)
        self.app.router.add_get("/file/bot{token}/{path:.*}", self.file)

    async def file(self, request: web.Request) -> web.Response:
        return web.Response(body=b"hello from a file")

    async def handle(self, request: web.Request) -> web.Response:
        method, form = request.match_info["method"], dict((await request.post()).items())
        params = {k: v if isinstance(v, str) else "<file>" for k, v in form.items()}
        if method != "getUpdates":
            self.note(method, params)
        if self.script.get(method):
            status, body = self.script[method].pop(0)
            return web.json_response(body, status=status)
        return web.json_response({"ok": True, "result": await self.answer(method, params)})

    async def answer(self, method: str, params: dict[str, Any]) -> Any:
        if method == "getMe":
            return {"id": 1, "is_bot": True, "first_name": "B", "username": "b_bot", "can_join_groups": True}
        if method == "getUpdates":
            offset = int(params.get("offset", 0))
            self.queue = [u for u in self.queue if u["update_id"] >= offset]
            for _ in range(int(float(params.get("timeout", 0)) * 20)):
                if self.queue or float(params.get("timeout", 0)) == 0:
                    break
                await asyncio.sleep(0.05)
                self.queue = [u for u in self.queue if u["update_id"] >= offset]
            return self.queue[:100]
        if method == "getFile":
            return {"file_id": params["file_id"], "file_unique_id": "u", "file_path": "documents/a.txt"}
        if method in ("sendMessage", "sendPhoto", "sendDocument"):
            number = next(self.numbers)
            self.shown.setdefault(int(params["chat_id"]), {})[number] = params
            return self.message(number, params)
        if method == "editMessageText":
            number = int(params["message_id"])
            self.shown.setdefault(int(params["chat_id"]), {})[number] = params
            return self.message(number, params)
        if method == "deleteMessage":
            self.shown.get(int(params["chat_id"]), {}).pop(int(params["message_id"]), None)
        return True

    def message(self, number: int, params: dict[str, Any]) -> dict[str, Any]:
        chat = int(params["chat_id"])
        return {
            "message_id": number,
            "date": 1,
            "chat": {"id": chat, "type": "private" if chat > 0 else "supergroup", "title": "G"},
            "text": params.get("text", ""),
            "from": {"id": 1, "is_bot": True, "first_name": "B"},
        }

    def texts(self, chat: int) -> list[str]:
        return [
            str(shown.get("text", shown.get("caption", ""))) for _, shown in sorted(self.shown.get(chat, {}).items())
        ]

    def update(self, **body: Any) -> dict[str, Any]:
        update = {"update_id": next(self.numbers), **body}
        self.queue.append(update)
        return update

    def says(self, text: str, who: int = 42, chat: int | None = None, **more: Any) -> dict[str, Any]:
        chat = who if chat is None else chat
        command = text.split()[0] if text.startswith("/") else ""
        entities = [{"type": "bot_command", "offset": 0, "length": len(command)}] if command else []
        at = text.find("@b_bot")
        if at >= 0 and not command:
            entities.append({"type": "mention", "offset": at, "length": 6})
        message = {
            "message_id": next(self.numbers),
            "date": 1,
            "text": text,
            "entities": entities,
            "chat": {"id": chat, "type": "private"}
            if chat > 0
            else {"id": chat, "type": "supergroup", "title": "G", "is_forum": True},
            "from": {"id": who, "is_bot": False, "first_name": f"P{who}", "language_code": "en"},
            **more,
        }
        return self.update(message=message)

    def taps(self, chat: int, number: int, data: str, who: int) -> None:
        self.update(
            callback_query={
                "id": str(next(self.numbers)),
                "from": {"id": who, "is_bot": False, "first_name": f"P{who}"},
                "chat_instance": "c",
                "data": data,
                "message": self.message(number, {"chat_id": chat, "text": "?"}),
            }
        )


class Discord(Server):
    """REST and the gateway socket."""

    ME = {"id": "1", "username": "bot", "discriminator": "0", "avatar": None, "bot": True, "global_name": None}

    def __init__(self) -> None:
        super().__init__()
        self.sockets: list[web.WebSocketResponse] = []
        self.seq = 0
        self.numbers = itertools.count(10**17)
        self.shown: dict[str, dict[str, dict[str, Any]]] = {}
        self.script: dict[str, list[tuple[int, dict[str, Any]]]] = {}
        self.app.router.add_get("/gw/", self.gateway)
        self.app.router.add_get("/gw", self.gateway)
        self.app.router.add_route("*", "/api/v10/{path:.*}", self.rest)

    def json(self, value: Any, status: int = 200) -> web.Response:
        return web.Response(
            body=json.dumps(value).encode(), status=status, headers={"Content-Type": "application/json", "Via": "x"}
        )

    async def rest(self, request: web.Request) -> web.Response:
        path, parts = request.match_info["path"], request.match_info["path"].split("/")
        name = f"{request.method} {path}"
        body: Any = {}
        if request.content_type == "application/json":
            body = await request.json()
        elif request.content_type.startswith("multipart"):
            form = await request.post()
            body = json.loads(str(form.get("payload_json", "{}")))
        self.note(name, body if isinstance(body, dict) else {"list": body})
        for key in list(self.script):
            if name.startswith(key) and self.script[key]:
                status, answer = self.script[key].pop(0)
                return self.json(answer, status)
        if path == "gateway" or path == "gateway/bot":
            return self.json(
                {
                    "url": f"ws://127.0.0.1:{self.port}/gw",
                    "shards": 1,
                    "session_start_limit": {"total": 1000, "remaining": 999, "reset_after": 1, "max_concurrency": 1},
                }
            )
        if path == "users/@me":
            return self.json(self.ME)
        if path.startswith("oauth2/applications") or path == "applications/@me":
            return self.json(
                {
                    "id": "1",
                    "name": "bot",
                    "description": "",
                    "icon": None,
                    "bot_public": True,
                    "bot_require_code_grant": False,
                    "verify_key": "x",
                    "flags": 0,
                    "summary": "",
                    "owner": self.ME,
                }
            )
        if path == "users/@me/channels":
            who = str(body["recipient_id"])
            return self.json({"id": f"9{who}", "type": 1, "recipients": [self.person(who)], "last_message_id": None})
        if parts[0] == "channels" and len(parts) >= 3 and parts[2] == "messages":
            shown = self.shown.setdefault(parts[1], {})
            if request.method == "POST" and len(parts) == 3:
                number = str(next(self.numbers))
                shown[number] = body
                return self.json(self.message(number, parts[1], self.ME, body.get("content", "")))
            if request.method == "PATCH":
                shown[parts[3]] = {**shown.get(parts[3], {}), **body}
                return self.json(self.message(parts[3], parts[1], self.ME, body.get("content", "")))
            if request.method == "GET":
                return self.json([])
            if request.method == "DELETE":
                shown.pop(parts[3], None)
        if parts[0] == "channels" and len(parts) == 2:
            return self.json({"id": parts[1], "type": 1, "recipients": [self.person("42")], "last_message_id": None})
        if request.method == "PUT" and path.endswith("commands"):
            return self.json([])
        return web.Response(status=204)

    def person(self, who: str) -> dict[str, Any]:
        return {"id": who, "username": f"p{who}", "discriminator": "0", "avatar": None, "global_name": None}

    def message(self, number: str, channel: str, author: dict[str, Any], text: str, **more: Any) -> dict[str, Any]:
        return {
            "id": number,
            "channel_id": channel,
            "author": author,
            "content": text,
            "timestamp": "2026-11-20T12:00:00+00:00",
            "edited_timestamp": None,
            "tts": False,
            "mention_everyone": False,
            "mentions": [],
            "mention_roles": [],
            "attachments": [],
            "embeds": [],
            "pinned": False,
            "type": 0,
            **more,
        }

    async def send(self, op: int, kind: str | None = None, data: Any = None) -> None:
        if op == 0:
            self.seq += 1
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_str(json.dumps({"op": op, "t": kind, "s": self.seq if op == 0 else None, "d": data}))

    async def gateway(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets = [socket]
        await self.send(10, None, {"heartbeat_interval": 5000})
        async for message in socket:
            frame = json.loads(message.data)
            if frame["op"] == 1:
                await self.send(11)
            if frame["op"] == 2:
                self.note("IDENTIFY", frame["d"])
                await self.send(
                    0,
                    "READY",
                    {
                        "v": 10,
                        "user": self.ME,
                        "guilds": [{"id": "77", "unavailable": True}],
                        "session_id": "s",
                        "resume_gateway_url": f"ws://127.0.0.1:{self.port}/gw",
                        "application": {"id": "1", "flags": 0},
                        "shard": [0, 1],
                    },
                )
                await self.send(
                    0,
                    "GUILD_CREATE",
                    {
                        "id": "77",
                        "name": "guild",
                        "icon": None,
                        "splash": None,
                        "owner_id": "42",
                        "member_count": 3,
                        "roles": [
                            {
                                "id": "77",
                                "name": "@everyone",
                                "color": 0,
                                "hoist": False,
                                "position": 0,
                                "permissions": "8",
                                "managed": False,
                                "mentionable": False,
                                "flags": 0,
                            }
                        ],
                        "emojis": [],
                        "features": [],
                        "members": [],
                        "threads": [
                            {
                                "id": "702",
                                "type": 11,
                                "guild_id": "77",
                                "parent_id": "701",
                                "name": "thread",
                                "owner_id": "42",
                                "message_count": 1,
                                "member_count": 1,
                                "rate_limit_per_user": 0,
                                "last_message_id": None,
                                "thread_metadata": {
                                    "archived": False,
                                    "auto_archive_duration": 60,
                                    "archive_timestamp": "2026-11-20T12:00:00+00:00",
                                    "locked": False,
                                },
                            }
                        ],
                        "presences": [],
                        "voice_states": [],
                        "stage_instances": [],
                        "stickers": [],
                        "guild_scheduled_events": [],
                        "channels": [
                            {
                                "id": "701",
                                "type": 0,
                                "name": "general",
                                "position": 0,
                                "permission_overwrites": [],
                                "nsfw": False,
                                "topic": None,
                                "last_message_id": None,
                                "parent_id": None,
                                "rate_limit_per_user": 0,
                            }
                        ],
                        "verification_level": 0,
                        "default_message_notifications": 0,
                        "explicit_content_filter": 0,
                        "mfa_level": 0,
                        "premium_tier": 0,
                        "system_channel_flags": 0,
                        "preferred_locale": "en-US",
                        "nsfw_level": 0,
                        "afk_timeout": 60,
                        "premium_progress_bar_enabled": False,
                    },
                )
            if frame["op"] == 6:
                self.note("RESUME", frame["d"])
                await self.send(0, "RESUMED", {})
        return socket

    async def says(self, text: str, who: str = "42", channel: str | None = None, **more: Any) -> str:
        number = str(next(self.numbers))
        place = (
            {}
            if channel is None
            else {
                "guild_id": "77",
                "member": {
                    "roles": [],
                    "joined_at": "2026-01-01T00:00:00+00:00",
                    "deaf": False,
                    "mute": False,
                    "flags": 0,
                },
            }
        )
        if "<@1>" in text:
            more["mentions"] = [self.ME]
        await self.send(
            0, "MESSAGE_CREATE", self.message(number, channel or f"9{who}", self.person(who), text, **place, **more)
        )
        return number

    def texts(self, channel: str) -> list[str]:
        return [str(body.get("content", "")) for body in self.shown.get(channel, {}).values()]

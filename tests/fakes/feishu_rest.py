"""The open API of the fake Feishu: its routes, limits and error codes.

Stands on `feishu_world.py`. Every answer is `{"code", "msg", "data"}`; a refusal
carries Feishu's code under its HTTP status, a rate limit also its headers.
"""

import json
import time
from collections import deque
from typing import Any

from aiohttp import web

from tests.fakes.faults import Faults, json_response
from tests.fakes.feishu_world import Object, Refused, World, new

OPEN = "/open-apis/"
CARD_RATE = (10, 1.0)
"""Updates per second that one card allows."""


class Rest:
    """`token_seconds`: how long a tenant token lives. `chat_rate`: sends (count, seconds) that a chat allows."""

    def __init__(self, app_id: str, app_secret: str, bot_open_id: str, world: World) -> None:
        self.app_id = app_id
        self.app_secret = app_secret
        self.bot_open_id = bot_open_id
        self.world = world
        self.faults = Faults()
        self.token_seconds = 7200
        self.chat_rate: tuple[int, float] | None = None
        self.tokens: dict[str, float] = {}
        """Token -> when it dies."""
        self.requests: list[tuple[str, str, Any]] = []
        self.limited = 0
        self.names: dict[str, str] | None = None
        """What people are called, where the app may ask."""
        self._spent: dict[str, deque[float]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, struck by the faults in force."""
        return await self.faults.around(request, self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path.removeprefix(OPEN)
        body = await self._body(request)
        self.requests.append((request.method, path, body))
        try:
            if path == "auth/v3/tenant_access_token/internal":
                return self._token(body)
            self._authenticated(request)
            return await self._route(request, path.split("/"), body)
        except Refused as refused:
            return json_response({"code": refused.code, "msg": refused.msg}, status=refused.status)

    async def _body(self, request: web.Request) -> Any:
        if request.content_type == "multipart/form-data":
            form = await request.post()
            return {k: (v.filename, v.file.read()) if isinstance(v, web.FileField) else v for k, v in form.items()}
        data = await request.read()
        return json.loads(data) if data else None

    def _token(self, body: Object) -> web.Response:
        if body.get("app_id") != self.app_id:
            return json_response({"code": 10003, "msg": "invalid param"})
        if body.get("app_secret") != self.app_secret:
            return json_response({"code": 10014, "msg": "app secret invalid"})
        token = new("t")
        self.tokens[token] = time.monotonic() + self.token_seconds
        return json_response({"code": 0, "msg": "ok", "tenant_access_token": token, "expire": self.token_seconds})

    def _authenticated(self, request: web.Request) -> None:
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0.0) < time.monotonic():
            raise Refused(99991663, "Invalid access token for authorization. Please make a test with token attached.")

    async def _route(self, request: web.Request, words: list[str], body: Any) -> web.StreamResponse:
        if words == ["bot", "v3", "info"]:
            bot = {"open_id": self.bot_open_id, "app_name": "assistant", "activate_status": 2}
            return json_response({"code": 0, "msg": "ok", "bot": bot})
        if words[:3] == ["contact", "v3", "users"] and self.names is not None:
            return done({"user": {"open_id": words[3], "name": self.names.get(words[3], "")}})
        if words[:2] == ["cardkit", "v1"]:
            return self._cardkit(request.method, words[3:], body)
        if words[:3] == ["im", "v1", "messages"]:
            return self._messages(request, words[3:], body)
        if words[:2] == ["im", "v1"] and words[2] in ("images", "files"):
            return self._upload(words[2], body)
        raise Refused(99991672, "no such route", 404)

    def _messages(self, request: web.Request, words: list[str], body: Any) -> web.StreamResponse:
        method, world = request.method, self.world
        if not words:
            return self._listed(request) if method == "GET" else self._sent(request, body)
        message = world.messages.get(words[0])
        if message is None:
            raise Refused(230011, "The message was recalled.")
        if len(words) == 1:
            if method == "GET":
                return done({"items": [message]})
            if method == "DELETE":
                del world.messages[words[0]]
                return done({})
            self._spend(message["chat_id"])
            world.replace(words[0], body["content"], body.get("msg_type", "interactive"))
            return done({})
        if words[1] == "reply":
            self._spend(message["chat_id"])
            return done(world.send(message["chat_id"], body, parent=message))
        if words[1] == "reactions":
            return self._reactions(method, words, body)
        if words[1] == "resources" and words[2] in world.files:
            data, mime = world.files[words[2]]
            return web.Response(body=data, content_type=mime)
        raise Refused(234001, "Invalid request param.")

    def _sent(self, request: web.Request, body: Object) -> web.Response:
        kind = request.query.get("receive_id_type")
        if kind not in ("chat_id", "open_id"):
            raise Refused(99992402, "field validation failed")
        chat = body["receive_id"] if kind == "chat_id" else self.world.chat(f"oc_{body['receive_id']}")["chat_id"]
        self._spend(chat)
        return done(self.world.send(chat, body))

    def _listed(self, request: web.Request) -> web.Response:
        thread = request.query["container_id"]
        inside = [m for m in self.world.messages.values() if m.get("thread_id") == thread]
        return done({"items": inside[::-1][: int(request.query.get("page_size", 20))]})

    def _reactions(self, method: str, words: list[str], body: Any) -> web.Response:
        if method == "DELETE":
            self.world.reactions.pop(words[2], None)
            return done({})
        made = new("reaction")
        self.world.reactions[made] = (words[0], body["reaction_type"]["emoji_type"])
        return done({"reaction_id": made})

    def _upload(self, kind: str, body: Object) -> web.Response:
        name, data = body["image"] if kind == "images" else body["file"]
        if not data:
            raise Refused(234010, "File's size can't be 0.")
        key = new("img" if kind == "images" else "file")
        self.world.files[key] = (data, "image/png" if kind == "images" else "application/octet-stream")
        return done({"image_key": key} if kind == "images" else {"file_key": key, "file_name": name})

    def _cardkit(self, method: str, words: list[str], body: Object) -> web.Response:
        if not words:
            return done({"card_id": self.world.make_card(body["data"]).card_id})
        if words == ["id_convert"]:
            return done({"card_id": self.world.entity_of(body["message_id"])})
        self._spend(words[0], CARD_RATE)
        if words[1:2] == ["elements"]:
            self.world.stream(words[0], words[2], body)
            return done({})
        card = self.world.find_card(words[0])
        if words[1:] == ["settings"]:
            card.advance(body["sequence"])
            card.body["config"] |= json.loads(body["settings"])["config"]
            return done({})
        if len(words) == 1 and method == "PUT":
            self.world.check_entity(json.loads(body["card"]["data"]))
            card.advance(body["sequence"])
            card.body = json.loads(body["card"]["data"])
            return done({})
        raise Refused(99991672, "no such route", 404)

    def _spend(self, key: str, rate: tuple[int, float] | None = None) -> None:
        """Take from the bucket of a chat or card. Raises the rate limit."""
        rate = rate or self.chat_rate
        if rate is None:
            return
        count, seconds = rate
        spent = self._spent.setdefault(key, deque())
        clock = time.monotonic()
        while spent and spent[0] <= clock - seconds:
            spent.popleft()
        if len(spent) >= count:
            self.limited += 1
            raise TooManyRequests
        spent.append(clock)


class TooManyRequests(Refused):
    """99991400, as the API gateway gives it."""

    def __init__(self) -> None:
        super().__init__(99991400, "request trigger frequency limit", 429)


def rate_limit(seconds: float) -> tuple[Object, dict[str, str]]:
    """Body and headers of a 429."""
    body = {"code": 99991400, "msg": "request trigger frequency limit"}
    return body, {"x-ogw-ratelimit-limit": "100", "x-ogw-ratelimit-reset": f"{seconds:g}"}


def done(data: Object) -> web.Response:
    """Feishu's success."""
    return json_response({"code": 0, "msg": "success", "data": data})

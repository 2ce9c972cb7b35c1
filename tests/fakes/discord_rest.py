"""REST v10 of the fake Discord: its routes, its limits, its refusals.

Each handler is named after method and first word of the path. Stands on
`discord_world.py` (what is stored) and `discord_gateway.py` (who is told).
"""

import json
import re
import time
from collections import deque
from typing import Any

from aiohttp import MultipartReader, web

from tests.fakes.discord_gateway import Gateway
from tests.fakes.discord_world import Object, World, now, snowflake, user
from tests.fakes.faults import Faults, json_response

MAX_CHARS = 2000
INTERACTION_SECONDS = 3.0


class Rest:
    """`bucket`: (requests, seconds) that a channel's messages allow, or None."""

    def __init__(self, token: str, world: World, gateway: Gateway) -> None:
        self.token = token
        self.world = world
        self.gateway = gateway
        self.faults = Faults()
        self.bucket: tuple[int, float] | None = None
        self.base = ""
        self.requests: list[tuple[str, str, Any]] = []
        """Method, path below the API, body."""
        self.commands: list[Object] = []
        self.interactions: dict[str, Object] = {}
        """By token: `id`, `at`, `channel_id`, `message`, `answers` (the bodies of the callbacks)."""
        self.ephemeral: list[Object] = []
        self.limited = 0
        """How many requests the bucket answered with 429."""
        self._sends: dict[str, deque[float]] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request, struck by the faults in force."""
        return await self.faults.around(request, self._answer)

    def attach(self, data: bytes, *, name: str, mime: str) -> Object:
        """Put a file on the CDN; its attachment object."""
        file_id = snowflake()
        self.world.files[file_id] = (data, mime)
        url = f"{self.base}/cdn/{file_id}/{name}?ex=1&is=2&hm=3"
        return {"id": file_id, "filename": name, "size": len(data), "url": url, "proxy_url": url, "content_type": mime}

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.match_info["path"]
        body = await self._body(request)
        self.requests.append((request.method, path, body))
        words = path.split("/")
        if path == "gateway":
            return json_response({"url": self.base.replace("http", "ws", 1) + "/gateway-socket"})
        if words[0] not in ("interactions", "webhooks") and request.headers.get("Authorization") != f"Bot {self.token}":
            return json_response({"message": "401: Unauthorized", "code": 0}, status=401)
        found = getattr(self, f"_{request.method.lower()}_{words[0]}", None)
        if found is None:
            return refused(404, 0, "404: Not Found")
        answer: web.StreamResponse = await found(words[1:], body, request)
        return answer

    async def _body(self, request: web.Request) -> Any:
        if request.content_type == "multipart/form-data":
            return await self._multipart(await request.multipart())
        data = await request.read()
        return json.loads(data) if data else None

    async def _multipart(self, reader: MultipartReader) -> Object:
        body: Object = {}
        files: list[Object] = []
        async for part in reader:
            if isinstance(part, MultipartReader):
                continue
            data = bytes(await part.read(decode=True))
            if part.name == "payload_json":
                body |= json.loads(data)
            elif part.name is not None and part.name.startswith("files["):
                mime = part.headers.get("Content-Type", "application/octet-stream")
                files.append(self.attach(data, name=part.filename or "file", mime=mime))
        return body | {"attachments": files}

    async def _get_users(self, words: list[str], body: Any, request: web.Request) -> web.Response:
        return json_response(self.world.bot)

    async def _post_users(self, words: list[str], body: Object, request: web.Request) -> web.Response:
        return json_response(self.world.private_channel(str(body["recipient_id"])))

    async def _get_oauth2(self, words: list[str], body: Any, request: web.Request) -> web.Response:
        bot = self.world.bot
        return json_response({"id": bot["id"], "name": bot["username"], "icon": None, "description": "", "summary": "",
                              "bot_public": True, "bot_require_code_grant": False, "owner": user("1", "owner"),
                              "verify_key": "0" * 64, "team": None, "flags": 1 << 19, "rpc_origins": []})  # fmt: skip

    async def _put_applications(self, words: list[str], body: list[Object], request: web.Request) -> web.Response:
        names = [command["name"] for command in body]
        wrong = [c for c in body if not re.fullmatch(r"[-_\w]{1,32}", c["name"]) or c["name"] != c["name"].lower()]
        texts = [t for c in body for t in (c["description"], *c.get("description_localizations", {}).values())]
        texts += [option["description"] for c in body for option in c.get("options", ())]
        if wrong or len(set(names)) < len(names) or len(names) > 100 or not all(1 <= len(t) <= 100 for t in texts):
            return refused(400, 50035, "Invalid Form Body")
        self.commands = [{**command, "id": snowflake(), "application_id": words[0]} for command in body]
        return json_response(self.commands)

    async def _get_channels(self, words: list[str], body: Any, request: web.Request) -> web.Response:
        channel = self.world.channels.get(words[0])
        if channel is None:
            return refused(404, 10003, "Unknown Channel")
        if len(words) == 1:
            return json_response(channel)
        messages = self.world.messages[words[0]]
        if len(words) == 3:
            found = self.world.find(words[0], words[2])
            return json_response(found) if found else refused(404, 10008, "Unknown Message")
        if (after := request.query.get("after")) is not None:
            chosen = [m for m in messages if int(m["id"]) > int(after)][: int(request.query.get("limit", 50))]
        else:
            before = int(request.query.get("before", 1 << 63))
            chosen = [m for m in messages if int(m["id"]) < before][-int(request.query.get("limit", 50)) :]
        return json_response([without_guild(m) for m in reversed(chosen)])

    async def _post_channels(self, words: list[str], body: Object, request: web.Request) -> web.Response:
        if words[0] not in self.world.channels:
            return refused(404, 10003, "Unknown Channel")
        if words[1] == "typing":
            self.world.typing.append(words[0])
            return web.Response(status=204)
        limited = self._spend(words[0])
        if limited is not None:
            return limited
        nonce = str(body.get("nonce", ""))
        if len(nonce) > 25:
            return refused(400, 50035, "Invalid Form Body")
        known = self.world.nonces.get((words[0], nonce)) if body.get("enforce_nonce") else None
        if known is not None:
            return json_response(without_guild(known))
        wrong = invalid(body) or self._reference(words[0], body)
        if wrong is not None:
            return wrong
        more = {k: body[k] for k in ("components", "attachments", "message_reference") if body.get(k)}
        message = self.world.add(words[0], self.world.bot, (body.get("content") or "").strip(), **more, nonce=nonce)
        message["allowed_mentions"] = body.get("allowed_mentions")
        if nonce:
            self.world.nonces[words[0], nonce] = message
        await self.gateway.dispatch("MESSAGE_CREATE", message)
        return json_response(without_guild(message))

    def _reference(self, channel_id: str, body: Object) -> web.Response | None:
        wanted = body.get("message_reference")
        if not wanted or not wanted.get("fail_if_not_exists", True):
            return None
        if self.world.find(channel_id, str(wanted["message_id"])) is None:
            return refused(400, 50035, "Invalid Form Body", {"message_reference": {"_errors": [
                {"code": "REPLIES_UNKNOWN_MESSAGE", "message": "Unknown message"}]}})  # fmt: skip
        return None

    def _spend(self, channel_id: str) -> web.Response | None:
        """Take from the channel's bucket; the 429 where it is empty."""
        if self.bucket is None:
            return None
        count, seconds = self.bucket
        spent = self._sends.setdefault(channel_id, deque())
        clock = time.monotonic()
        while spent and spent[0] <= clock - seconds:
            spent.popleft()
        if len(spent) >= count:
            self.limited += 1
            return too_many(max(0.01, spent[0] + seconds - clock))
        spent.append(clock)
        return None

    async def _patch_channels(self, words: list[str], body: Object, request: web.Request) -> web.Response:
        limited = self._spend(words[0])
        if limited is not None:
            return limited
        message = self.world.find(words[0], words[2])
        if message is None:
            return refused(404, 10008, "Unknown Message")
        if message["author"]["id"] != self.world.bot["id"]:
            return refused(403, 50005, "Cannot edit a message authored by another user")
        wrong = invalid({**message, **body})
        if wrong is not None:
            return wrong
        message.update({k: body[k] for k in ("content", "components", "attachments") if k in body})
        message["content"] = (message["content"] or "").strip()
        message["edited_timestamp"] = now()
        self.world.edits.append((words[2], message["content"]))
        await self.gateway.dispatch("MESSAGE_UPDATE", message)
        return json_response(without_guild(message))

    async def _delete_channels(self, words: list[str], body: Any, request: web.Request) -> web.Response:
        if len(words) > 3:
            self.world.reactions = [r for r in self.world.reactions if r != (words[2], words[4])]
            return web.Response(status=204)
        gone = self.world.find(words[0], words[2])
        if gone is None:
            return refused(404, 10008, "Unknown Message")
        if gone["author"]["id"] != self.world.bot["id"]:
            return refused(403, 50003, "Cannot execute action on a DM channel")
        self.world.messages[words[0]] = [m for m in self.world.messages[words[0]] if m["id"] != words[2]]
        return web.Response(status=204)

    async def _put_channels(self, words: list[str], body: Any, request: web.Request) -> web.Response:
        if self.world.find(words[0], words[2]) is None:
            return refused(404, 10008, "Unknown Message")
        self.world.reactions.append((words[2], words[4]))
        return web.Response(status=204)

    async def _post_interactions(self, words: list[str], body: Object, request: web.Request) -> web.Response:
        found = self.interactions.get(words[1])
        if found is None or found["id"] != words[0] or time.monotonic() - found["at"] > INTERACTION_SECONDS:
            return refused(404, 10062, "Unknown interaction")
        if found["answers"]:
            return refused(400, 40060, "Interaction has already been acknowledged.")
        found["answers"].append(body)
        data = body.get("data") or {}
        if body["type"] == 7:
            found["message"].update({k: data[k] for k in ("content", "components") if k in data})
        elif body["type"] == 4:
            self._show(found, data)
        return web.Response(status=204)

    def _show(self, found: Object, data: Object) -> None:
        if data.get("flags", 0) & 64:
            self.ephemeral.append(data)
        else:
            self.world.add(found["channel_id"], self.world.bot, data.get("content", ""))

    async def _patch_webhooks(self, words: list[str], body: Object, request: web.Request) -> web.Response:
        found = self.interactions.get(words[1])
        if found is None or not found["answers"]:
            return refused(404, 10015, "Unknown Webhook")
        self._show(found, {**body, "flags": (found["answers"][0].get("data") or {}).get("flags", 0)})
        return json_response({"id": snowflake()})

    async def _delete_webhooks(self, words: list[str], body: Any, request: web.Request) -> web.Response:
        return web.Response(status=204)

    async def _post_webhooks(self, words: list[str], body: Object, request: web.Request) -> web.Response:
        found = self.interactions.get(words[1])
        if found is None or not found["answers"]:
            return refused(404, 10015, "Unknown Webhook")
        self._show(found, body)
        return json_response({"id": snowflake()})

    async def cdn(self, request: web.Request) -> web.StreamResponse:
        """A download, which needs no token."""
        return await self.faults.around(request, self._file)

    async def _file(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(("GET", request.path, None))
        data, mime = self.world.files[request.match_info["file"]]
        return web.Response(body=data, content_type=mime)


def without_guild(message: Object) -> Object:
    """REST gives messages without `guild_id`; only the gateway adds it."""
    return {k: v for k, v in message.items() if k not in ("guild_id", "allowed_mentions")}


def refused(status: int, code: int, text: str, errors: Object | None = None) -> web.Response:
    """Discord's error body."""
    return json_response({"message": text, "code": code} | ({"errors": errors} if errors else {}), status=status)


def too_many(seconds: float, *, everywhere: bool = False) -> web.Response:
    """429 as Discord's own servers give it, with `Via`."""
    body, headers = rate_limit(seconds, everywhere=everywhere)
    return json_response(body, status=429, headers=headers)


def rate_limit(seconds: float, *, everywhere: bool = False) -> tuple[Object, dict[str, str]]:
    """Body and headers of a 429."""
    headers = {"Via": "1.1 google", "Retry-After": str(int(seconds) + 1), "X-RateLimit-Limit": "5",
               "X-RateLimit-Remaining": "0", "X-RateLimit-Reset-After": f"{seconds:.3f}",
               "X-RateLimit-Reset": f"{time.time() + seconds:.3f}", "X-RateLimit-Scope": "user"}  # fmt: skip
    return {"message": "You are being rate limited.", "retry_after": round(seconds, 3), "global": everywhere}, headers


def invalid(body: Object) -> web.Response | None:
    """The refusal of a message that breaks Discord's limits."""
    content = body.get("content") or ""
    if len(content) > MAX_CHARS:
        return refused(400, 50035, "Invalid Form Body", {"content": {"_errors": [
            {"code": "BASE_TYPE_BAD_LENGTH", "message": "Must be 2000 or fewer in length."}]}})  # fmt: skip
    buttons = [button for row in body.get("components") or () for button in row["components"]]
    ids = [button["custom_id"] for button in buttons]
    wrong = [b for b in buttons if not 1 <= len(b["label"]) <= 80 or not 1 <= len(b["custom_id"]) <= 100]
    rows = body.get("components") or ()
    if wrong or len(set(ids)) < len(ids) or len(rows) > 5 or any(not 1 <= len(r["components"]) <= 5 for r in rows):
        return refused(400, 50035, "Invalid Form Body")
    if not content.strip() and not body.get("attachments") and not body.get("embeds"):
        return refused(400, 50006, "Cannot send an empty message")
    return None

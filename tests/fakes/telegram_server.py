"""A Bot API server on loopback: ids, offsets, long polls, limits, drafts, files, webhooks, faults.

In-process: `async with FakeTelegram() as telegram`. In a process of its own:
`python -m tests.fakes.telegram_server`, by `tests.fakes.remote.RemoteFake`. What a
person sees is in `world`, what goes wrong in `faults` (paths end in the method:
`/bot1:A/sendMessage`).
"""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any

from aiohttp import ClientSession, web

from channels.telegram.parse import chat_of
from tests.fakes.faults import Fault, Faults, json_response
from tests.fakes.telegram_methods import BotMethods
from tests.fakes.telegram_world import Json, Refused, World

SENDS = {
    "sendMessage",
    "sendMessageDraft",
    "editMessageText",
    "sendPhoto",
    "sendDocument",
    "sendVoice",
    "sendAudio",
    "sendVideo",
}


class FakeTelegram(BotMethods):
    """The server and its world."""

    def __init__(
        self, *, token: str = "1:A", drafts: bool = True, most_per_second: float = 0, bot_id: int = 1, port: int = 0
    ) -> None:
        self.token = token
        self.port = port
        self.world = World(bot_id=bot_id, drafts=drafts)
        self.faults = Faults()
        self.calls: list[tuple[float, str, Json]] = []
        self.most_per_second = most_per_second
        self.revoked = False
        self.trickle = 0.0
        """Seconds between two bytes of a file."""
        self._polls: set[asyncio.Event] = set()
        self._runner: web.AppRunner | None = None
        self._pushing: asyncio.Task[None] | None = None
        self.webhook_answers: list[int] = []

    async def start(self) -> None:
        application = web.Application(client_max_size=64 << 20)
        application.router.add_route("*", "/bot{token}/{method}", self._handle)
        application.router.add_get("/file/bot{token}/{path:.*}", self._file)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.gather(self._pushing, return_exceptions=True)
            self._pushing = None
        for poll in self._polls:
            poll.set()
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def __aenter__(self) -> "FakeTelegram":
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # ------------------------------------------------------------ steering, also from another process

    def fault(self, path: str, **arguments: Any) -> None:
        self.faults.add(Fault(path=path, **arguments))

    def limited(self, method: str, retry_after: int, times: int = 1) -> None:
        """429 as Telegram says it."""
        body = {"ok": False, "error_code": 429, "description": f"Too Many Requests: retry after {retry_after}",
                "parameters": {"retry_after": retry_after}}  # fmt: skip
        self.fault(method, status=429, body=body, times=times)

    def refuse(self, method: str, code: int, description: str, times: int = 1) -> None:
        self.fault(method, status=code, body={"ok": False, "error_code": code, "description": description}, times=times)

    def said(self, method: str) -> list[Json]:
        """The parameters of all calls of `method`."""
        return [parameters for _, name, parameters in self.calls if name == method]

    def revoke(self, revoked: bool = True) -> None:
        self.revoked = revoked

    # ------------------------------------------------------------ HTTP

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.match_info["token"] != self.token or self.revoked:
            return json_response({"ok": False, "error_code": 401, "description": "Unauthorized"}, status=401)
        return await self.faults.around(request, self._answer)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        method = request.match_info["method"]
        parameters: Json = {}
        for name, value in (await request.post()).items():
            parameters[name] = value.file.read() if isinstance(value, web.FileField) else _loaded(str(value))
        self.calls.append((time.monotonic(), method, parameters))
        handler: Callable[[Json], Any] | None = getattr(self, f"_{method}", None)
        if handler is None:
            return json_response({"ok": False, "error_code": 404, "description": "Not Found"}, status=404)
        try:
            self._flood(method, parameters)
            result = handler(parameters)
            if isinstance(result, Awaitable):
                result = await result
        except Refused as error:
            body = {"ok": False, "error_code": error.code, "description": error.description}
            if error.parameters:
                body["parameters"] = error.parameters
            return json_response(body, status=error.code)
        return json_response({"ok": True, "result": result})

    def _flood(self, method: str, parameters: Json) -> None:
        if method not in SENDS or not self.most_per_second:
            return
        room, now = self.world.chat(parameters["chat_id"]), time.monotonic()
        room.calls = [each for each in room.calls if now - each[0] < 10]
        if len(room.calls) >= self.most_per_second * 10:
            raise Refused(429, "Too Many Requests: retry after 1", retry_after=1)
        room.calls.append((now, method))

    async def _file(self, request: web.Request) -> web.StreamResponse:
        data = self.world.files.get(request.match_info["path"].removeprefix("files/"))
        if data is not None and self.trickle:
            return await self._trickled(request, data)
        return web.Response(status=404) if data is None else web.Response(body=data)

    async def _trickled(self, request: web.Request, data: bytes) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for at in range(len(data)):
            await answer.write(data[at : at + 1])
            await asyncio.sleep(self.trickle)
        return answer

    # ------------------------------------------------------------ methods: updates

    def _getMe(self, _: Json) -> Json:
        return {"id": self.world.bot_id, "is_bot": True, "first_name": "B", "username": self.world.username}

    async def _getUpdates(self, p: Json) -> list[Json]:
        if self.world.webhook.get("url"):
            raise Refused(409, "Conflict: can't use getUpdates method while webhook is active")
        for other in self._polls:
            other.set()
        offset = int(p.get("offset", 0))
        for number in [n for n in self.world.updates if n < offset]:
            del self.world.updates[number]
        self.world.confirmed_up_to = max(self.world.confirmed_up_to, offset - 1)
        stopped = asyncio.Event()
        self._polls.add(stopped)
        end = time.monotonic() + float(p.get("timeout", 0))
        try:
            while not self.world.updates and time.monotonic() < end and not stopped.is_set():
                await asyncio.sleep(0.01)
            if stopped.is_set() and self._runner is not None:
                raise Refused(409, "Conflict: terminated by other getUpdates request")
            return [self.world.updates[n] for n in sorted(self.world.updates)][: int(p.get("limit", 100))]
        finally:
            self._polls.discard(stopped)

    def _setWebhook(self, p: Json) -> bool:
        self.world.webhook = {"url": p.get("url", ""), "secret": p.get("secret_token", "")}
        if self._pushing is None:
            self._pushing = asyncio.get_running_loop().create_task(self._push())
        return True

    def _deleteWebhook(self, _: Json) -> bool:
        self.world.webhook = {}
        return True

    def _getWebhookInfo(self, _: Json) -> Json:
        return {"url": self.world.webhook.get("url", ""), "has_custom_certificate": False, "pending_update_count": 0}

    async def _push(self) -> None:
        """Call the webhook for each update until it answers 200: those of one chat one after another."""
        async with ClientSession() as session:
            while True:
                await asyncio.sleep(0.01)
                first: dict[str, Json] = {}
                for number in sorted(self.world.updates):
                    first.setdefault(chat_of(self.world.updates[number]), self.world.updates[number])
                waiting = list(first.values())
                if waiting and self.world.webhook.get("url"):
                    await asyncio.gather(*(self._call(session, update) for update in waiting))

    async def _call(self, session: ClientSession, update: Json) -> None:
        headers = {"X-Telegram-Bot-Api-Secret-Token": self.world.webhook["secret"]}
        try:
            async with session.post(self.world.webhook["url"], json=update, headers=headers) as answer:
                self.webhook_answers.append(answer.status)
                if answer.status == 200:
                    self.world.updates.pop(update["update_id"], None)
                else:
                    await asyncio.sleep(0.1)
        except OSError:
            await asyncio.sleep(0.1)


def _loaded(text: str) -> Any:
    """Structured parameters come as JSON text; texts and numbers stay as they are."""
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return text


if __name__ == "__main__":
    from tests.fakes.remote import serve

    asyncio.run(serve(lambda arguments: FakeTelegram(**arguments)))

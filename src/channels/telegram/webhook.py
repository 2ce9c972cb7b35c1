"""The webhook: Telegram calls, with the secret in a header that is checked before the body is read.

Telegram repeats a call until it is answered with 200, which happens when the
update is durable. The parts of an album come in calls of their own, one after
another: `albums.py` keeps them and has them taken together.
"""

import asyncio
import hmac
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from urllib.parse import urlsplit

from telegram import Bot

from bus.errors import Overloaded, TooLarge
from bus.events import JsonObject
from channels.base import ReadBody, Reply, StateName
from channels.errors import ChannelAuthFailed, ChannelError, ChannelUnavailable
from channels.settings import TelegramSettings
from channels.telegram.albums import Albums
from channels.telegram.client import mapped
from channels.telegram.parse import album_of, chat_of
from channels.telegram.polling import KINDS

SECRET_HEADER = "X-Telegram-Bot-Api-Secret-Token"  # noqa: S105  # a name, no secret
MAX_BODY_BYTES = 1_048_576
LOOK_SECONDS = 60.0
ROUTE = "/webhooks/telegram"


class Hook:
    """Registers the webhook, and takes its calls."""

    def __init__(
        self, settings: TelegramSettings, take: Callable[[Sequence[JsonObject]], Awaitable[None]], albums: Albums
    ) -> None:
        self._settings = settings
        self._take = take
        self._albums = albums
        self.paused = False

    async def run(self, bot: Bot, mark: Callable[[StateName, str], None]) -> None:
        """Keep the webhook registered, until cancelled."""
        secret = self._secret()
        if not secret:
            raise ChannelAuthFailed("webhook mode needs a webhook_secret")
        url = self._url()
        async with mapped():
            await bot.set_webhook(url, secret_token=secret, allowed_updates=KINDS)
        mark("ready", "")
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                async with mapped():
                    info = await bot.get_webhook_info()
                    if info.url != url:
                        await bot.set_webhook(url, secret_token=secret, allowed_updates=KINDS)
            except ChannelAuthFailed:
                raise
            except ChannelError as error:
                mark("degraded", error.reason)
                continue
            mark("ready", "")

    def _secret(self) -> str:
        return self._settings.webhook_secret.get_secret_value() if self._settings.webhook_secret else ""

    def _url(self) -> str:
        url = self._settings.webhook_url or ""
        if not url:
            raise ChannelUnavailable("webhook mode needs a webhook_url")
        return url.rstrip("/") + ROUTE if urlsplit(url).path in ("", "/") else url

    async def call(self, headers: Mapping[str, str], read_body: ReadBody) -> Reply:
        """One call: 401 before the body is read, 413, 400, 503 while overloaded, else 200 when it is durable."""
        given = next((v for k, v in headers.items() if k.lower() == SECRET_HEADER.lower()), "")
        secret = self._secret()
        if not secret or not hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()):
            return Reply(401, b'{"error":{"code":1001,"message":"not authenticated","retryable":false}}')
        if self.paused:
            return Reply(503, b"{}", headers={"Retry-After": "5"})
        try:
            update = json.loads(await read_body(MAX_BODY_BYTES))
        except TooLarge:
            return Reply(413, b"{}")
        except (ValueError, RecursionError):
            return Reply(400, b"{}")
        if not isinstance(update, dict) or not isinstance(update.get("update_id"), int):
            return Reply(400, b"{}")
        try:
            await self._one(update)
        except Overloaded:
            return Reply(503, b"{}", headers={"Retry-After": "5"})
        return Reply(200, b"{}")

    async def _one(self, update: JsonObject) -> None:
        album = album_of(update)
        if album is not None:
            await self._albums.put(album, update)
            return
        await self._albums.settle(chat_of(update))
        await self._take([update])

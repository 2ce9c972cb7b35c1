"""The Bot API client: python-telegram-bot's `Bot`, time-outs, downloads, and the table of errors.

Facts it stands on (python-telegram-bot 22.8): `BadRequest` is a `NetworkError` and
must be looked at first; 401 and 404 are both `InvalidToken`; a time-out or a broken
connection carries httpx's exception as its cause, which tells whether the request
can have left. The token is part of every URL: below a warning, the log lines of httpx and of the SDK are turned off.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from telegram import Bot
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
    TelegramError,
    TimedOut,
)
from telegram.request import HTTPXRequest

from bus.errors import TooLarge
from bus.events import JsonObject
from channels.errors import (
    ChannelAuthFailed,
    ChannelError,
    ChannelUnavailable,
    DeliveryRejected,
    EditExpired,
    MessageGone,
    OutcomeUnknown,
    RateLimited,
)

os.environ.setdefault("PTB_TIMEDELTA", "true")
"""The SDK's switch to durations as `timedelta`; without it every 429 is a deprecation warning."""

PUBLIC_SERVER = "https://api.telegram.org"
POLL_SECONDS = 25
POLL_GRACE_SECONDS = 10.0
CALL_SECONDS = 20.0
UPLOAD_SECONDS = 60.0
DOWNLOAD_SECONDS = 120.0
"""A whole file. What trickles would hold up its chat."""
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)


class MarkupRefused(DeliveryRejected):
    """The entities are refused: the same goes as plain text."""


class PictureRefused(DeliveryRejected):
    """It is no picture to Telegram, or no voice to this person: as a file it is taken."""


class NotModified(DeliveryRejected):
    """It shows this already."""


_REFUSALS: tuple[tuple[str, type[DeliveryRejected]], ...] = (
    ("message is not modified", NotModified),
    ("message to edit not found", MessageGone),
    ("message to delete not found", MessageGone),
    ("message_id_invalid", MessageGone),
    ("message can't be edited", EditExpired),
    ("image_process_failed", PictureRefused),
    ("photo_", PictureRefused),
    ("voice_messages_forbidden", PictureRefused),
    ("can't parse entities", MarkupRefused),
    ("entity", MarkupRefused),
)


def as_channel_error(error: TelegramError) -> ChannelError:
    """The table from the SDK's errors to ours."""
    if isinstance(error, RetryAfter):
        wait: Any = error.retry_after
        return RateLimited(float(wait.total_seconds() if hasattr(wait, "total_seconds") else wait))
    if isinstance(error, BadRequest):
        text = error.message.lower()
        kind = next((kind for part, kind in _REFUSALS if part in text), DeliveryRejected)
        return kind(error.message[:200])
    if isinstance(error, InvalidToken):
        return ChannelAuthFailed("Telegram refuses the bot token")
    if isinstance(error, Forbidden):
        return DeliveryRejected(error.message[:200])
    if isinstance(error, Conflict):
        return ChannelUnavailable("another program takes this bot's updates")
    if isinstance(error, NetworkError):
        return _network_error(error)
    return OutcomeUnknown(error.message[:200])


def _network_error(error: NetworkError) -> ChannelError:
    cause = error.__cause__
    if isinstance(cause, _NOT_SENT):
        return ChannelUnavailable(f"Telegram can't be reached ({_class_name(cause)})")
    if isinstance(error, TimedOut) or isinstance(cause, httpx.HTTPError):
        return OutcomeUnknown(f"no answer from Telegram ({_class_name(cause or error)})")
    if "too large" in error.message.lower():  # 413, which the SDK does not tell from a trouble of the server's
        return DeliveryRejected("this is too large for Telegram")
    return ChannelUnavailable(f"Telegram is in trouble ({error.message[:60]})")


def _class_name(error: BaseException) -> str:
    inner = error.__cause__ or error.__context__
    return type(inner).__name__ if inner is not None and "SSL" in type(inner).__name__ else type(error).__name__


@asynccontextmanager
async def mapped() -> AsyncIterator[None]:
    """Errors of the SDK leave as ours. `ChatMigrated` is for the caller."""
    try:
        yield
    except ChatMigrated:
        raise
    except TelegramError as error:
        raise as_channel_error(error) from error


class _Updates(HTTPXRequest):
    """Requests for updates, which keeps the JSON as it came: one odd update must not hide the others.

    `parse_json_payload` is the SDK's documented place to look at an answer.
    """

    raw: list[JsonObject]

    # static in the SDK, which calls it on the instance
    def parse_json_payload(self, payload: bytes) -> JsonObject:  # type: ignore[override]
        data: JsonObject = HTTPXRequest.parse_json_payload(payload)
        found = data.get("result")
        self.raw = [u for u in found if isinstance(u, dict) and isinstance(u.get("update_id"), int)] if isinstance(
            found, list) else []  # fmt: skip
        return {**data, "result": []} if isinstance(found, list) else data


class Client:
    """One bot's connections: open, use `bot`, close."""

    def __init__(self, token: str, base_url: str | None) -> None:
        for name in ("httpx", "httpcore", "telegram"):
            logging.getLogger(name).setLevel(logging.WARNING)
        self._server = (base_url or PUBLIC_SERVER).rstrip("/")
        self._polls = _Updates(
            connection_pool_size=2, connect_timeout=10, read_timeout=POLL_GRACE_SECONDS, pool_timeout=5
        )
        calls = HTTPXRequest(
            connection_pool_size=64, connect_timeout=10, read_timeout=CALL_SECONDS, write_timeout=CALL_SECONDS,
            media_write_timeout=UPLOAD_SECONDS, pool_timeout=10,
        )  # fmt: skip
        self.bot = Bot(
            token, base_url=f"{self._server}/bot", base_file_url=f"{self._server}/file/bot",
            request=calls, get_updates_request=self._polls,
        )  # fmt: skip

    async def open(self) -> None:
        """Connect and ask who we are. Raises ChannelAuthFailed, ChannelUnavailable."""
        try:
            async with mapped():
                await self.bot.initialize()
        except (OutcomeUnknown, RateLimited) as error:
            raise ChannelUnavailable(error.reason) from error

    async def close(self) -> None:
        """Drop all connections."""
        await self._polls.shutdown()
        await self.bot.request.shutdown()

    async def renew_polls(self) -> None:
        """New connections for updates, after silence."""
        await self._polls.shutdown()
        await self._polls.initialize()

    async def updates(self, offset: int | None, seconds: int, kinds: list[str]) -> list[JsonObject]:
        """The updates from `offset` on, as JSON; what lies before it is confirmed. Waits up to `seconds`."""
        self._polls.raw = []
        async with mapped():
            await self.bot.get_updates(offset=offset, timeout=seconds, allowed_updates=kinds)
        return self._polls.raw

    async def download(self, file_id: str, limit: int) -> bytes:
        """A file of at most `limit` bytes. Raises TooLarge (bus) and channels.errors."""
        async with mapped():
            file = await self.bot.get_file(file_id)
        if file.file_size is not None and file.file_size > limit:
            raise TooLarge
        if not file.file_path:
            raise DeliveryRejected("the file is gone")
        return await self._stream(file.file_path, limit)

    async def _stream(self, url: str, limit: int) -> bytes:
        data = bytearray()
        try:
            async with (
                asyncio.timeout(DOWNLOAD_SECONDS),
                httpx.AsyncClient(timeout=CALL_SECONDS) as client,
                client.stream("GET", url) as answer,
            ):
                if answer.status_code != httpx.codes.OK:
                    raise ChannelUnavailable(f"a file could not be fetched ({answer.status_code})")
                async for piece in answer.aiter_bytes():
                    data += piece
                    if len(data) > limit:
                        raise TooLarge
        except (httpx.HTTPError, TimeoutError) as error:
            raise ChannelUnavailable(f"a file could not be fetched ({type(error).__name__})") from error
        return bytes(data)

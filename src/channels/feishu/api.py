"""Feishu's open API over aiohttp: the tenant token, calls, files, and refusals as what the caller may do about them.

Written on aiohttp because the SDK's calls block the loop (`requests`) or open a
client per call; paths and bodies are the SDK's (lark-oapi 1.7), which is the tests'
oracle. Knows neither cards nor messages.
"""

import asyncio
import json
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import aiohttp
from pydantic import SecretStr

from channels.downloads import read_at_most
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

Object: TypeAlias = dict[str, Any]

FEISHU = "https://open.feishu.cn"
REQUEST_SECONDS = 15.0
UPLOAD_SECONDS = 120.0
_EARLY_SECONDS = 600.0
"""A token is renewed this long before it dies, as the SDK does."""

_STALE_TOKEN = frozenset({99991661, 99991663, 99991664, 99991665, 99991668, 99991671})
_REFUSED_APP = frozenset({10003, 10012, 10013, 10014, 99991543, 99991662, 99991401})
_TOO_MANY = frozenset({99991400, 230020, 11232, 11233, 11247, 1000004, 1000005})
_CONTENT = frozenset({230001, 230025, 230099, 11310})
_UNDER_WAY = frozenset({230049})
"""The message of this uuid is still being sent: asked again later, it comes back."""
_GONE = frozenset({230011, 230110, 231003})
_FROZEN = frozenset({230031, 230072, 230054, 300302, 200740})
"""Still seen, but no longer to be changed: too old, edited 20 times, its card has expired."""


class Refusal(DeliveryRejected):
    """Feishu's no, with its `code`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code

    @property
    def of_content(self) -> bool:
        """Whether it is what was to be shown that is refused, rather than showing anything here."""
        return self.code in _CONTENT or 200_000 <= self.code < 201_000 or 300_300 <= self.code < 300_400


class FeishuApi:
    """One app's calls. `domain` is the root of the API."""

    def __init__(self, app_id: str, app_secret: SecretStr, domain: str | None) -> None:
        self.app_id = app_id
        self._secret = app_secret
        self.domain = (domain or FEISHU).rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._closed = False
        self._token = ""
        self._token_until = 0.0
        self._renewing = asyncio.Lock()

    @property
    def session(self) -> aiohttp.ClientSession:
        """The connections, opened when first needed. Raises ChannelUnavailable once they were let go of."""
        if self._closed:
            raise ChannelUnavailable("the channel is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None, sock_connect=10))
        return self._session

    async def close(self) -> None:
        """Let go of the connections, for good."""
        self._closed = True
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    # ------------------------------------------------------------ the token

    async def token(self) -> str:
        """A tenant token that lives for a while yet. Raises ChannelAuthFailed, ChannelUnavailable."""
        if time.monotonic() < self._token_until:
            return self._token
        async with self._renewing:
            if time.monotonic() >= self._token_until:
                await self._renew()
        return self._token

    async def _renew(self) -> None:
        body = {"app_id": self.app_id, "app_secret": self._secret.get_secret_value()}
        path = "/open-apis/auth/v3/tenant_access_token/internal"
        answer = await self._exchange("POST", path, json=body, headers={})
        if answer.get("code") != 0 or "tenant_access_token" not in answer:
            raise refusal(int(answer.get("code", -1)), answer["http"], answer["headers"])
        life = float(answer.get("expire") or 7200)
        self._token = answer["tenant_access_token"]
        self._token_until = time.monotonic() + max(life - _EARLY_SECONDS, life / 2)

    # ------------------------------------------------------------ calls

    async def call(
        self, method: str, path: str, body: Object | None = None, query: Mapping[str, str] = MappingProxyType({})
    ) -> Object:
        """One call below `/open-apis`; its `data`. Raises channels.errors."""
        return await self._authorised(method, path, query, lambda: {"json": body} if body is not None else {})

    async def upload(self, path: str, fields: Mapping[str, str], data: bytes, part: str, name: str) -> Object:
        """One multipart call; its `data`. Raises channels.errors."""

        def form() -> Object:
            made = aiohttp.FormData()
            for key, value in fields.items():
                made.add_field(key, value)
            made.add_field(part, data, filename=name, content_type="application/octet-stream")
            return {"data": made, "seconds": UPLOAD_SECONDS}

        return await self._authorised("POST", path, {}, form)

    async def _authorised(self, method: str, path: str, query: Mapping[str, str], content: Any) -> Object:
        for fresh in (False, True):
            headers = {"Authorization": f"Bearer {await self.token()}"}
            answer = await self._exchange(method, "/open-apis" + path, params=query, headers=headers, **content())
            code = int(answer.get("code", -1))
            if code == 0:
                found: Object = answer.get("data") or answer
                return found
            if code not in _STALE_TOKEN or fresh:
                raise refusal(code, answer["http"], answer["headers"])
            self._token_until = 0.0
        raise AssertionError("unreachable")

    async def _exchange(self, method: str, path: str, *, seconds: float = REQUEST_SECONDS, **more: Any) -> Object:
        """One request; the JSON of its answer with its status as `http`. Raises channels.errors."""
        try:
            async with asyncio.timeout(seconds), self.session.request(method, self.domain + path, **more) as answer:
                if answer.status >= 500:
                    raise ChannelUnavailable(f"Feishu answers {answer.status}")
                return _json(await answer.read()) | {"http": answer.status, "headers": answer.headers}
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise lost(error) from error

    async def download(self, path: str, limit: int, **query: str) -> bytes:
        """A file. Raises TooLarge above `limit` bytes, channels.errors."""
        headers = {"Authorization": f"Bearer {await self.token()}"}
        url = f"{self.domain}/open-apis{path}"
        try:
            async with (
                asyncio.timeout(UPLOAD_SECONDS),
                self.session.get(url, params=query, headers=headers) as answer,
            ):
                if answer.status != 200:
                    raise refusal(-1, answer.status, answer.headers)
                return await read_at_most(answer, limit)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise lost(error) from error


def _json(body: bytes) -> Object:
    """The answer; one that is none of Feishu's has no code, which is a refusal."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def lost(error: Exception) -> ChannelError:
    """The channel error for a connection that failed: before anything left, or after."""
    if isinstance(error, aiohttp.ClientConnectorError | ConnectionRefusedError):
        return ChannelUnavailable(f"cannot reach Feishu: {type(error).__name__}")
    return OutcomeUnknown(f"the connection to Feishu was lost: {type(error).__name__}")


def refusal(code: int, status: int, headers: Mapping[str, str]) -> ChannelError:
    """The channel error for Feishu's `code` under an HTTP `status`: the one table of this adapter."""
    reason = f"Feishu refuses this: code {code}, status {status}"
    if status == 429 or code in _TOO_MANY:
        return RateLimited(_seconds(headers))
    if code in _UNDER_WAY:
        return OutcomeUnknown(f"Feishu is still sending this (code {code})")
    if code in _REFUSED_APP:
        return ChannelAuthFailed(f"Feishu refuses app_id or app_secret, or the app is not enabled (code {code})")
    if code in _STALE_TOKEN:
        return ChannelUnavailable(f"Feishu does not take its own token (code {code})")
    if status >= 500:
        return ChannelUnavailable(f"Feishu answers {status}")
    if code in _GONE:
        return MessageGone(reason)
    if code in _FROZEN:
        return EditExpired(reason)
    return Refusal(code, reason)


def _seconds(headers: Mapping[str, str]) -> float:
    try:
        return max(0.1, float(headers.get("x-ogw-ratelimit-reset", "")))
    except ValueError:
        return 1.0

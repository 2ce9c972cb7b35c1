"""Feishu (Lark): the adapter on its open API, long connection or webhook.

Limits: 30 KB a card, 150 KB a text, 5 messages a second a chat, 10 updates a second a
card, a uuid remembered for an hour, 30 MB a file and 10 MB a picture, an event
answered within 3 s or sent again. There is no typing sign and no command menu to
set. What streams is a card under rising sequence numbers; it can always be written
on, so that no half answer stays.

Below: `parse.py`, `render.py`, `link.py`, `webhook.py` (pure), `api.py`, `cards.py`,
`connection.py`. Above: the host. Decides nothing about who may speak, about
sessions, rates or repetition. The SDK is not imported: docs/channels/feishu.md says why.
"""

import asyncio
import json
import logging
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar

from bus.errors import TooLarge
from channels.base import Address, BaseChannel, Capabilities, Content, Media, Rate, ReadBody, Reply, Text
from channels.errors import ChannelAuthFailed, ChannelError
from channels.feishu.api import FeishuApi, Refusal
from channels.feishu.connection import Connection
from channels.feishu.intake import Intake
from channels.feishu.outgoing import Outgoing
from channels.feishu.parse import Object, Self
from channels.feishu.render import MAX_BYTES, length
from channels.feishu.webhook import MAX_BODY, MAX_CHALLENGE, Keys, NotGenuine, claims, read
from channels.settings import ChannelSettings, FeishuSettings

if TYPE_CHECKING:
    from channels.inbound import InboundPipeline

_log = logging.getLogger("channels.feishu")

CAPABILITIES = Capabilities(
    max_chars=MAX_BYTES,
    counting="bytes",
    nonce_seconds=3000.0,
    final_edit=True,
    typing=False,
    direct_rate=Rate(5, 4.5),
    group_rate=Rate(5, 4.5),
    total_rate=Rate(40, 40.0),
    edit_seconds=0.3,
    group_edit_seconds=0.3,
    first_seconds=0.4,
    upload_bytes=30_000_000,
)

LOOK_SECONDS = 60.0


class FeishuChannel(BaseChannel):
    """`silence_seconds`: how often the long connection is probed."""

    name: ClassVar[str] = "feishu"
    settings_model: ClassVar[type[ChannelSettings]] = FeishuSettings

    def __init__(
        self,
        settings: FeishuSettings,
        inbound: "InboundPipeline",
        *,
        capabilities: Capabilities = CAPABILITIES,
        silence_seconds: float = 20.0,
    ) -> None:
        super().__init__(settings, capabilities, inbound)
        self._settings = settings
        self._silence_seconds = silence_seconds
        if not settings.app_id or settings.app_secret is None:
            raise ChannelAuthFailed("channels.feishu.app_id and app_secret are not set")
        self._keys = _keys(settings)
        self._api = FeishuApi(settings.app_id, settings.app_secret, settings.domain)
        self._outgoing = Outgoing(self._api)
        self._intake = Intake(self, self._api, self._outgoing)
        self._answers: set[asyncio.Future[tuple[int, Object | None]]] = set()
        """Webhook calls that wait for theirs."""

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        if self._keys is not None:  # what decrypts takes a while to import: not in the loop, not in the first call
            await asyncio.to_thread(import_module, "cryptography.hazmat.primitives.ciphers")
        await self._api.token()
        self.account = self._api.app_id
        self._intake.me = Self(self.account, await self._own_open_id())

    async def _own_open_id(self) -> str:
        """By what people mention this bot; '' where Feishu does not tell, so that any mention is taken for ours."""
        try:
            bot: Object = (await self._api.call("GET", "/bot/v3/info")).get("bot") or {}
        except Refusal as refused:
            _log.warning("feishu: the bot's own open_id is not known: %s", refused.reason)
            return ""
        return str(bot.get("open_id") or "")

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        tasks = {loop.create_task(self._take_in()), loop.create_task(self._look())}
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _look(self) -> None:
        """Whether the app may still speak: what comes in does not tell. Raises ChannelAuthFailed."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._api.call("GET", "/bot/v3/info")
            except ChannelAuthFailed:
                raise
            except ChannelError as error:
                _log.debug("feishu: %s", error.reason)

    async def _take_in(self) -> None:
        if self._keys is not None:
            self.mark("ready")
            await asyncio.Event().wait()
        assert self._settings.app_secret is not None
        secret = self._settings.app_secret.get_secret_value()
        await Connection(self._api, secret, self._intake.handle, self._connected, self._silence_seconds).run()

    def _connected(self, up: bool, reason: str) -> None:
        self.mark("ready" if up else "degraded", reason)

    async def pause(self) -> None:
        self._intake.paused = True

    async def stop(self) -> None:
        await self._intake.close()
        for answered in list(self._answers):
            if not answered.done():
                answered.set_result((503, None))
        await self._api.close()

    # ------------------------------------------------------------ out

    async def send(
        self, to: Address, content: Content, *, reply_to: str | None = None, nonce: str = "", final: bool = True
    ) -> str:
        if isinstance(content, Media):
            return await self._outgoing.send_media(to, content, reply_to=reply_to, nonce=nonce)
        return await self._outgoing.send_text(to, content, reply_to=reply_to, nonce=nonce, final=final)

    async def edit(self, to: Address, message_id: str, content: Text, *, final: bool = True) -> None:
        await self._outgoing.edit(to, message_id, content, final=final)

    async def delete(self, to: Address, message_id: str) -> None:
        await self._outgoing.delete(message_id)

    async def react(self, to: Address, message_id: str, emoji: str) -> None:
        await self._outgoing.react(message_id, emoji)

    # ------------------------------------------------------------ the webhook

    async def webhook(self, headers: Mapping[str, str], read_body: ReadBody) -> Reply:
        if self._keys is None:
            return Reply(404)
        if self._intake.paused or self.state.state != "ready":
            return Reply(503)
        try:
            signed = claims(headers, time.time())
            body = await read_body(MAX_BODY if signed else MAX_CHALLENGE)
            call = read(headers, body, self._keys, signed=signed)
        except NotGenuine:
            return Reply(401)
        except TooLarge:
            return Reply(413 if headers.get("X-Lark-Signature") else 401)
        if call.get("type") == "url_verification":
            return _json_reply(200, {"challenge": call.get("challenge", "")})
        return await self._answered(call)

    async def _answered(self, call: Object) -> Reply:
        """Through the same way as the long connection; 200 only when it is durable."""
        answered: asyncio.Future[tuple[int, Object | None]] = asyncio.get_running_loop().create_future()

        async def respond(code: int, data: Object | None) -> None:
            if not answered.done():
                answered.set_result((code, data))

        self._answers.add(answered)
        answered.add_done_callback(self._answers.discard)
        self._intake.handle(call, respond)
        code, data = await answered
        return _json_reply(code, data if data is not None else {})

    # ------------------------------------------------------------ pure

    def measure(self, markdown: str) -> int:
        return length(markdown)


def _keys(settings: FeishuSettings) -> Keys | None:
    """The webhook's keys; None with the long connection. Raises ChannelAuthFailed where one is missing or empty."""
    if settings.mode != "webhook":
        return None
    encrypt = settings.encrypt_key.get_secret_value() if settings.encrypt_key else ""
    token = settings.verification_token.get_secret_value() if settings.verification_token else ""
    if not encrypt or not token:
        raise ChannelAuthFailed("channels.feishu in webhook mode needs encrypt_key and verification_token")
    return Keys(encrypt, token)


def _json_reply(status: int, body: Object) -> Reply:
    return Reply(status, json.dumps(body, ensure_ascii=False).encode())

"""Discord: the adapter on discord.py.

Limits: 2000 characters a message, about 5 messages and edits in 5 s a channel, nonces
of 25 characters remembered for some minutes, interactions answered within 3 s,
10 MiB a file, the Message Content Intent for text in guilds. The gateway has no
acknowledgement: a message counts as read when it is durable, and what was missed
is fetched from the history.

Below: `parse.py` and `render.py` (pure), `client.py` (the SDK), `intake.py` (what
comes in). Above: the manager. Decides nothing about who may speak, about sessions,
rates or repetition.
"""

import asyncio
import hashlib
import logging
import sqlite3
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from bus.commands import Command
from bus.context import id_time
from channels.base import Address, BaseChannel, Capabilities, Content, Media, Rate, Text
from channels.discord.client import Downloads, GatewayClient, attachment
from channels.discord.intake import Intake
from channels.discord.parse import Object, Self, is_sent, snowflake_at
from channels.discord.refusals import FOREIGN, refusal
from channels.discord.render import MAX_CHARS, file_name, length, render_commands, render_media, render_text
from channels.discord.watermarks import Watermarks
from channels.errors import ChannelAuthFailed, ChannelUnavailable
from channels.settings import ChannelSettings, DiscordSettings

if TYPE_CHECKING:
    from channels.inbound import InboundPipeline

_log = logging.getLogger("channels.discord")

CAPABILITIES = Capabilities(
    max_chars=MAX_CHARS,
    counting="utf16",
    nonce_seconds=86_400.0,
    typing_seconds=8.0,
    direct_rate=Rate(4, 0.9),
    group_rate=Rate(4, 0.9),
    total_rate=Rate(40, 40.0),
    edit_seconds=1.2,
    group_edit_seconds=1.2,
    upload_bytes=10 * 1024 * 1024,
)
_NONCE_CHARS = 25
_NONCE_SECONDS = 90.0
"""Discord says that it remembers a nonce for "the past few minutes"."""
_CLOCKS_SECONDS = 10.0
"""By how much Discord's clock may differ from ours."""
_KEEP_SECONDS = 2.0
_MESSAGES = "/channels/{channel_id}/messages"
_MESSAGE = _MESSAGES + "/{message_id}"
_REACTION = _MESSAGE + "/reactions/{emoji}/@me"


class DiscordChannel(BaseChannel):
    """`silence_seconds`: a socket on which nothing came for so long is dead. Keeps its marks as a note."""

    name: ClassVar[str] = "discord"
    settings_model: ClassVar[type[ChannelSettings]] = DiscordSettings

    def __init__(
        self,
        settings: DiscordSettings,
        inbound: "InboundPipeline",
        *,
        capabilities: Capabilities = CAPABILITIES,
        silence_seconds: float = 60.0,
    ) -> None:
        super().__init__(settings, capabilities, inbound)
        self._settings = settings
        self._silence_seconds = silence_seconds
        self._downloads = Downloads()
        self._marks = Watermarks()
        self._intake = Intake(self, self._marks, self._keep, self._downloads, frozenset(settings.groups))
        self._client: GatewayClient | None = None
        self._reactions: OrderedDict[str, str] = OrderedDict()

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        if self._settings.token is None:
            raise ChannelAuthFailed("channels.discord.token is not set")
        client = GatewayClient(
            api_url=self._settings.api_url,
            handlers=self._intake.handlers(),
            state=self._connected,
            silence_seconds=self._silence_seconds,
        )
        self._client = client
        try:
            self.account = await client.open(self._settings.token.get_secret_value())
        except FOREIGN as error:
            raise refusal(error) from error
        self._marks.load(await self.inbound.notes.note(self._marks_name))
        self._intake.attach(client, Self(self.account, str(client.application_id or self.account)))

    def _connected(self, up: bool, reason: str) -> None:
        self.mark("ready" if up else "degraded", reason)

    async def run(self) -> None:
        client = self._opened()
        keeping = asyncio.get_running_loop().create_task(self._keep_marks())
        try:
            await client.connect()
        except FOREIGN as error:
            raise refusal(error) from error
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def _keep_marks(self) -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            await self._keep()

    async def _keep(self) -> None:
        if self._marks.changed:
            self._marks.changed = False
            try:
                await self.inbound.notes.keep_note(self._marks_name, self._marks.dump())
            except sqlite3.Error as error:  # an older mark only reads again what is known
                self._marks.changed = True
                _log.error("discord: what has been read can't be kept (%s)", error)

    @property
    def _marks_name(self) -> str:
        return f"discord:{self.account}:read"

    async def pause(self) -> None:
        self._intake.paused = True

    async def stop(self) -> None:
        await self._intake.close()
        await self._keep()
        await self._downloads.close()
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()

    def _opened(self) -> GatewayClient:
        if self._client is None:
            raise ChannelUnavailable("the channel is closed")
        return self._client

    # ------------------------------------------------------------ out

    async def _call(
        self, method: str, path: str, words: Mapping[str, str], body: Any = None, media: Media | None = None
    ) -> Any:
        file = attachment(media.data, file_name(media.name)) if media is not None else None
        try:
            return await self._opened().call(method, path, words, body=body, file=file)
        except FOREIGN as error:
            raise refusal(error) from error

    async def _channel(self, to: Address) -> str:
        """The Discord channel of an address; a private one is opened, which is the same each time."""
        if to.kind == "group":
            return to.thread or to.chat
        known = self._intake.private.of(to.chat)
        if known is None:
            opened = await self._call("POST", "/users/@me/channels", {}, {"recipient_id": to.chat})
            known = str(opened["id"])
            self._intake.private.met(to.chat, known)
        return known

    async def send(
        self, to: Address, content: Content, *, reply_to: str | None = None, nonce: str = "", final: bool = True
    ) -> str:
        channel = await self._channel(to)
        media = content if isinstance(content, Media) else None
        body = render_media(content) if isinstance(content, Media) else render_text(content)
        if reply_to:
            body["message_reference"] = {"message_id": reply_to, "fail_if_not_exists": False}
        sent = await self._sent_before(channel, body, nonce)
        if sent is not None:
            return sent
        if nonce:
            body |= {"nonce": short_nonce(nonce), "enforce_nonce": True}
        answer: Object = await self._call("POST", _MESSAGES, {"channel_id": channel}, body, media)
        return str(answer["id"])

    async def _sent_before(self, channel: str, body: Object, nonce: str) -> str | None:
        """The message that an earlier try made, where Discord has forgotten its nonce by now: the history tells."""
        made = id_time(nonce)
        if made is None or time.time() - made < _NONCE_SECONDS:
            return None
        path = f"{_MESSAGES}?limit=100&after={snowflake_at(made - _CLOCKS_SECONDS)}"
        history: list[Object] = await self._call("GET", path, {"channel_id": channel})
        found = [message for message in history if is_sent(message, body, self._intake.me)]
        return str(min(found, key=lambda message: int(message["id"]))["id"]) if found else None

    async def edit(self, to: Address, message_id: str, content: Text, *, final: bool = True) -> None:
        await self._call("PATCH", _MESSAGE, await self._words(to, message_id), render_text(content))

    async def delete(self, to: Address, message_id: str) -> None:
        await self._call("DELETE", _MESSAGE, await self._words(to, message_id))

    async def _words(self, to: Address, message_id: str) -> dict[str, str]:
        return {"channel_id": await self._channel(to), "message_id": message_id}

    async def typing(self, to: Address) -> None:
        await self._call("POST", "/channels/{channel_id}/typing", {"channel_id": await self._channel(to)})

    async def react(self, to: Address, message_id: str, emoji: str) -> None:
        if not message_id:
            return
        words = await self._words(to, message_id)
        before = self._reactions.pop(message_id, None)
        if before is not None and before != emoji:
            await self._call("DELETE", _REACTION, {**words, "emoji": before})
        if emoji:
            await self._call("PUT", _REACTION, {**words, "emoji": emoji})
            self._reactions[message_id] = emoji
            if len(self._reactions) > 1000:
                self._reactions.popitem(last=False)

    async def set_commands(self, commands: Sequence[Command]) -> None:
        words = {"application_id": self._intake.me.application}
        await self._call("PUT", "/applications/{application_id}/commands", words, render_commands(commands))

    # ------------------------------------------------------------ pure

    def measure(self, markdown: str) -> int:
        return length(markdown)

    def bucket(self, to: Address) -> str:
        """Threads have limits of their own on Discord."""
        return f"{to.kind}:{to.thread or to.chat}"


def short_nonce(nonce: str) -> str:
    """A nonce in Discord's 25 characters; a longer one by its hash, so that it stays one and the same."""
    if len(nonce) <= _NONCE_CHARS:
        return nonce
    return hashlib.sha256(nonce.encode()).hexdigest()[:_NONCE_CHARS]

"""Telegram: polling or webhook in, messages, edits, drafts, media and buttons out.

The platform's limits (Bot API 10.0): 4096 UTF-16 code units a message, about one
message a second in a chat with short bursts, 20 a minute in a group, 30 a second
for the bot; drafts in private chats only, shown for 30 s; no nonce, so that a send
whose answer was lost is never repeated; files up to 20 MB down and 50 MB up; a
message can be deleted for 48 h. Updates wait 24 h at Telegram until confirmed.

`parse.py` and `render.py` are pure, `client.py` holds the SDK and the table of
errors, `polling.py` and `webhook.py` are the two ways in.
"""

import json
import logging
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from telegram import BotCommand, InlineKeyboardMarkup, MessageEntity, ReplyParameters
from telegram.error import ChatMigrated

from bus.commands import Command
from bus.events import JsonObject
from channels.base import (
    Address,
    BaseChannel,
    Capabilities,
    Content,
    Incoming,
    Media,
    Rate,
    Reaction,
    ReadBody,
    Reply,
    Tap,
    Text,
)
from channels.errors import ChannelAuthFailed, ChannelError, DeliveryRejected, DraftsUnsupported, MessageGone
from channels.settings import TelegramSettings
from channels.telegram.albums import Albums
from channels.telegram.client import UPLOAD_SECONDS, Client, MarkupRefused, NotModified, PictureRefused, mapped
from channels.telegram.parse import Me, Migrated
from channels.telegram.polling import Poller
from channels.telegram.reading import Reading
from channels.telegram.render import MAX_CHARS, Rendered, measure, media_kind, render_buttons, render_text
from channels.telegram.webhook import Hook

if TYPE_CHECKING:
    from channels.inbound import InboundPipeline

log = logging.getLogger(__name__)
CAPABILITIES = Capabilities(
    max_chars=MAX_CHARS,
    counting="utf16",
    drafts=True,
    counts_messages=True,
    typing_seconds=4.0,
    direct_rate=Rate(5, 1.0),
    group_rate=Rate(8, 20 / 60),
    total_rate=Rate(30, 30.0),
    edit_seconds=1.0,
    group_edit_seconds=2.5,
)
PASSING_SECONDS = 5.0
"""Drafts, typing and reactions may be missed: nothing waits long for them."""


class TelegramChannel(BaseChannel):
    """One bot."""

    name: ClassVar[str] = "telegram"
    place_word: ClassVar[Literal["topic", "thread"]] = "topic"
    settings_model = TelegramSettings

    def __init__(
        self, settings: TelegramSettings, inbound: "InboundPipeline", *, capabilities: Capabilities = CAPABILITIES
    ) -> None:
        super().__init__(settings, capabilities, inbound)
        token = settings.token.get_secret_value() if settings.token else ""
        if not token:
            raise ChannelAuthFailed("no bot token is configured")
        self._settings = settings
        self._client = Client(token, settings.base_url)
        self._bot = self._client.bot
        self._reading = Reading(self._client.download, self._tell)
        self._moved: dict[str, str] = {}
        self._poller: Poller | None = None
        self._albums = Albums(self._take, lambda text: self.inbound.notes.keep_note(self._note("albums"), text))
        self._hook = Hook(settings, self._take, self._albums)

    # ------------------------------------------------------------ life

    async def start(self) -> None:
        await self._client.open()
        me = self._bot.bot
        self._reading.me = Me(me.id, me.username or "")
        self.account = str(me.id)
        self._moved = json.loads(await self.inbound.notes.note(self._note("moved")) or "{}")
        self._albums.load(await self.inbound.notes.note(self._note("albums")))

    def _note(self, what: str) -> str:
        return f"telegram:{self.account}:{what}"

    async def run(self) -> None:
        if self._settings.mode == "webhook":
            await self._hook.run(self._bot, self.mark)
        else:
            try:
                async with mapped():
                    await self._bot.delete_webhook()
            except ChannelAuthFailed:
                log.info("telegram: this server knows no webhooks")
            self._poller = Poller(self._client, self._take, self.mark, self.inbound.notes, self._note("waiting"))
            await self._poller.run()

    async def pause(self) -> None:
        self._hook.paused = True
        if self._poller is not None:
            self._poller.paused = True

    async def stop(self) -> None:
        await self._albums.close()
        await self._client.close()

    # ------------------------------------------------------------ in

    async def webhook(self, headers: Mapping[str, str], read_body: ReadBody) -> Reply:
        return await self._hook.call(headers, read_body)

    async def _take(self, updates: Sequence[JsonObject]) -> None:
        """One update, or the parts of one album."""
        try:
            parsed = self._reading.read(updates)
        except (KeyError, TypeError, ValueError, AttributeError):
            log.warning("telegram: update %s is not understood", updates[0].get("update_id"), exc_info=True)
            return
        match parsed:
            case Incoming():
                await self.receive(self._at_home(parsed))
            case Tap():
                await self.receive_tap(replace(parsed, place=replace(parsed.place, chat=self._home(parsed.place.chat))))
            case Reaction():
                await self.receive_reaction(parsed)
            case Migrated(old, new):
                await self._migrated(old, new)

    def _home(self, chat: str) -> str:
        """A group that moved keeps the id under which it is known, unless the settings know it by the new one alone."""
        home = next((old for old, new in self._moved.items() if new == chat), chat)
        return chat if chat in self.settings.groups and home not in self.settings.groups else home

    def _at_home(self, incoming: Incoming) -> Incoming:
        chat = self._home(incoming.place.chat)
        return incoming if chat == incoming.place.chat else replace(incoming, place=replace(incoming.place, chat=chat))

    async def _migrated(self, old: str, new: str) -> None:
        self._moved[self._home(old)] = new
        with suppress(sqlite3.Error):  # Telegram says so again at every call to the old id; what is sent now goes on
            await self.inbound.notes.keep_note(self._note("moved"), json.dumps(self._moved))

    async def _tell(self, query: str, text: str) -> None:
        try:
            async with mapped():
                await self._bot.answer_callback_query(query, text=text[:200] or None)
        except ChannelError as error:
            log.info("telegram: a tap was not answered: %s", error.reason)

    # ------------------------------------------------------------ out

    def measure(self, markdown: str) -> int:
        return measure(markdown)

    async def send(
        self, to: Address, content: Content, *, reply_to: str | None = None, nonce: str = "", final: bool = True
    ) -> str:
        where: dict[str, Any] = {"message_thread_id": int(to.thread)} if to.thread else {}
        if reply_to:
            where["reply_parameters"] = ReplyParameters(int(reply_to), allow_sending_without_reply=True)
        if isinstance(content, Media):
            return await self._send_media(to, content, where)
        rendered, buttons = render_text(content), render_buttons(content)
        if buttons is not None:
            where["reply_markup"] = InlineKeyboardMarkup.de_json(buttons, self._bot)
        try:
            return await self._send_text(to, rendered, where)
        except MarkupRefused:
            return await self._send_text(to, Rendered(rendered.text), where)

    async def _send_text(self, to: Address, rendered: Rendered, where: dict[str, Any]) -> str:
        async def call(chat: int) -> Any:
            return await self._bot.send_message(chat, rendered.text, entities=_entities(rendered), **where)

        return str((await self._in_chat(to, call)).message_id)

    async def _in_chat(self, to: Address, call: Any) -> Any:
        """`call(chat id)`, once more where the group turns out to have moved: then nothing was done."""
        try:
            async with mapped():
                return await call(int(self._moved.get(to.chat, to.chat)))
        except ChatMigrated as moved:
            await self._migrated(to.chat, str(moved.new_chat_id))
        try:
            async with mapped():
                return await call(int(self._moved[to.chat]))
        except ChatMigrated as moved:
            raise DeliveryRejected("the group moved twice") from moved

    async def edit(self, to: Address, message_id: str, content: Text, *, final: bool = True) -> None:
        rendered, buttons = render_text(content), render_buttons(content)
        markup = InlineKeyboardMarkup.de_json(buttons, self._bot) if buttons is not None else None

        async def call(shown: Rendered) -> None:
            async def there(chat: int) -> Any:
                return await self._bot.edit_message_text(
                    shown.text, chat_id=chat, message_id=int(message_id), entities=_entities(shown), reply_markup=markup
                )

            await self._in_chat(to, there)

        with suppress(NotModified):
            try:
                await call(rendered)
            except MarkupRefused:
                await call(Rendered(rendered.text))

    async def delete(self, to: Address, message_id: str) -> None:
        try:
            await self._in_chat(to, lambda chat: self._bot.delete_message(chat, int(message_id)))
        except MessageGone:
            return

    async def draft(self, to: Address, draft_id: int, content: Text) -> None:
        rendered = render_text(content)
        thread = int(to.thread) if to.thread else None
        try:
            async with mapped():
                await self._bot.send_message_draft(
                    int(to.chat),
                    draft_id,
                    rendered.text,
                    message_thread_id=thread,
                    entities=_entities(rendered),
                    read_timeout=PASSING_SECONDS,
                )
        except (ChannelAuthFailed, DeliveryRejected) as error:
            # An older server answers 404 for a method that it lacks, as for a wrong token.
            raise DraftsUnsupported(error.reason) from error

    async def typing(self, to: Address) -> None:
        thread = int(to.thread) if to.thread else None
        await self._passing(
            to,
            lambda chat: self._bot.send_chat_action(
                chat, "typing", message_thread_id=thread, read_timeout=PASSING_SECONDS
            ),
        )

    async def react(self, to: Address, message_id: str, emoji: str) -> None:
        reaction = emoji or None
        await self._passing(
            to,
            lambda chat: self._bot.set_message_reaction(chat, int(message_id), reaction, read_timeout=PASSING_SECONDS),
        )

    async def _passing(self, to: Address, call: Any) -> None:
        """A sign that may be missed. An older server answers 404 for a method it lacks, as for a wrong token."""
        try:
            await self._in_chat(to, call)
        except ChannelAuthFailed as error:
            raise DeliveryRejected(error.reason) from error

    async def set_commands(self, commands: Sequence[Command]) -> None:
        shown = [command for command in commands if not command.admin]
        async with mapped():
            await self._bot.set_my_commands([BotCommand(c.name, c.en[:256]) for c in shown])
            await self._bot.set_my_commands([BotCommand(c.name, c.zh[:256]) for c in shown], language_code="zh")

    async def _send_media(self, to: Address, media: Media, where: dict[str, Any]) -> str:
        kind = media_kind(media)
        try:
            return await self._upload(kind, to, media, where)
        except PictureRefused:
            return await self._upload("document", to, media, where)

    async def _upload(self, kind: str, to: Address, media: Media, where: dict[str, Any]) -> str:
        send = getattr(self._bot, f"send_{kind}")

        async def call(chat: int) -> Any:
            return await send(
                chat, media.data, filename=media.name, caption=media.caption[:1024] or None,
                read_timeout=UPLOAD_SECONDS, write_timeout=UPLOAD_SECONDS, **where,
            )  # fmt: skip

        return str((await self._in_chat(to, call)).message_id)


def _entities(rendered: Rendered) -> list[MessageEntity]:
    return [MessageEntity(**entity) for entity in rendered.entities]

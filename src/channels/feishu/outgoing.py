"""What goes out to Feishu: cards, streaming cards, texts where a card is refused, files, reactions.

A message's id as the channel gives it away says how to edit it, also after a
restart: `om_…` is a card of its own, `om_…/text` a text, `om_…/<card id>` shows a
card entity that streams. Above is `channel.py`; below `api.py`, `cards.py`, `render.py`.
"""

import json
import logging
import time
from collections import OrderedDict
from typing import Any, TypeAlias

from channels.base import Address, Media, Text
from channels.errors import ChannelError, DeliveryRejected, MessageGone
from channels.feishu.api import FeishuApi, Refusal
from channels.feishu.cards import Cards
from channels.feishu.render import card_reference, render_card, render_plain, upload_kind

Object: TypeAlias = dict[str, Any]

_log = logging.getLogger("channels.feishu")

_MESSAGES = "/im/v1/messages"
_TEXT = "text"
_IMAGE_BYTES = 10_000_000
_KEPT = 5000
_MAX_UUID = 50
_OLD_MS = 3000
_NO_CARDS_SECONDS = 3600.0
_EMOJI = {
    "👀": "OnIt",
    "👍": "THUMBSUP",
    "✅": "DONE",
    "❌": "CrossMark",
    "🤔": "THINKING",
    "🎉": "PARTY",
    "⏳": "OneSecond",
}


class Outgoing:
    """`private` maps a person to the private chat, as far as known."""

    def __init__(self, api: FeishuApi) -> None:
        self._api = api
        self._cards = Cards(api)
        self.private: dict[str, str] = {}
        self._anchors: OrderedDict[str, str] = OrderedDict()
        self._ours: OrderedDict[str, None] = OrderedDict()
        self._by_nonce: OrderedDict[str, str] = OrderedDict()
        self._reactions: OrderedDict[str, str] = OrderedDict()
        self._no_cards_until = 0.0

    def is_ours(self, message_id: str) -> bool:
        """Whether we sent it, as far as remembered."""
        return message_id in self._ours

    def anchor(self, thread: str, message_id: str) -> None:
        """A message in `thread`: what is to appear there must reply to one."""
        _remember(self._anchors, thread, message_id)

    # ------------------------------------------------------------ new messages

    async def send_text(self, to: Address, text: Text, *, reply_to: str | None, nonce: str, final: bool) -> str:
        """A card; one that streams, where it is not final or was begun so under this nonce."""
        if not final or nonce in self._by_nonce:
            sent = await self._send_streaming(to, text, reply_to, nonce, final=final)
            if sent is not None:
                return sent
        try:
            content = json.dumps(render_card(text, to), ensure_ascii=False)
            return str((await self._post(to, "interactive", content, reply_to, nonce))["message_id"])
        except Refusal as refused:
            if not refused.of_content:
                raise
            _log.info("a card is refused, so it goes as text: %s", refused.reason)
        content = json.dumps(render_plain(text.markdown), ensure_ascii=False)
        return f"{(await self._post(to, 'text', content, reply_to, nonce))['message_id']}/{_TEXT}"

    async def _send_streaming(
        self, to: Address, text: Text, reply_to: str | None, nonce: str, *, final: bool
    ) -> str | None:
        """A message that shows a card entity; None where this app may not make any."""
        known = self._by_nonce.get(nonce) if nonce else None
        if known is None and time.monotonic() < self._no_cards_until:
            return None
        try:
            card_id = known or await self._cards.create(text, to)
        except Refusal as refused:
            _log.warning("no streaming cards for now (permission cardkit:card:write?): %s", refused.reason)
            self._no_cards_until = time.monotonic() + _NO_CARDS_SECONDS
            return None
        if nonce:
            _remember(self._by_nonce, nonce, card_id)
        began = time.time()
        content = json.dumps(card_reference(card_id))
        message = await self._post(to, "interactive", content, reply_to, nonce)
        card_id = await self._shown(message, card_id, began, fresh=known is None)
        if known is not None or final:
            await self._cards.write(card_id, text, to, final=final)
        return f"{message['message_id']}/{card_id}"

    async def _shown(self, message: Object, card_id: str, began: float, *, fresh: bool) -> str:
        """The card that `message` shows. Under a uuid from before a restart Feishu gives the older message
        back, which shows the card of that time: it is older than this call."""
        try:
            age = began * 1000 - int(message.get("create_time") or 0)
        except ValueError:
            return card_id
        if not fresh or age < _OLD_MS:
            return card_id
        try:
            return await self._cards.of_message(str(message["message_id"]))
        except ChannelError:
            return card_id

    async def _post(self, to: Address, kind: str, content: str, reply_to: str | None, nonce: str) -> Object:
        """One new message, as a reply where there is something to reply to. Raises channels.errors."""
        body: Object = {"msg_type": kind, "content": content}
        if nonce:
            body["uuid"] = nonce[:_MAX_UUID]
        message = await self._reply(reply_to, body, in_thread=to.thread is not None) if reply_to else None
        if message is None and to.thread:
            message = await self._in_thread(to.thread, body)
        if message is None:
            kind_of_id, receiver = self._receiver(to)
            message = await self._api.call(
                "POST", _MESSAGES, {**body, "receive_id": receiver}, {"receive_id_type": kind_of_id}
            )
        _remember(self._ours, str(message["message_id"]), None)
        if to.thread:
            self.anchor(to.thread, str(message["message_id"]))
        return message

    async def _in_thread(self, thread: str, body: Object) -> Object | None:
        """As a reply to whatever is left in `thread`; None where nothing is."""
        target = self._anchors.get(thread)
        message = await self._reply(target, body, in_thread=True) if target else None
        if message is None:
            self._anchors.pop(thread, None)
            target = await self._newest_in(thread)
            message = await self._reply(target, body, in_thread=True) if target else None
        return message

    async def _reply(self, target: str, body: Object, *, in_thread: bool) -> Object | None:
        more = {"reply_in_thread": True} if in_thread else {}
        try:
            return await self._api.call("POST", f"{_MESSAGES}/{target}/reply", {**body, **more})
        except MessageGone:
            return None

    def _receiver(self, to: Address) -> tuple[str, str]:
        if to.kind == "group":
            return "chat_id", to.chat
        known = self.private.get(to.chat)
        return ("chat_id", known) if known else ("open_id", to.chat)

    async def _newest_in(self, thread: str) -> str | None:
        """The newest message in a thread that was not recalled."""
        query = {
            "container_id_type": "thread",
            "container_id": thread,
            "sort_type": "ByCreateTimeDesc",
            "page_size": "20",
        }
        items = (await self._api.call("GET", _MESSAGES, None, query)).get("items") or []
        return next((str(item["message_id"]) for item in items if not item.get("deleted")), None)

    # ------------------------------------------------------------ changes

    async def edit(self, to: Address, message_id: str, text: Text, *, final: bool) -> None:
        """Show `text` in place of what the message showed. Raises channels.errors."""
        plain_id, _, kind = message_id.partition("/")
        if kind == _TEXT:
            body = {"msg_type": "text", "content": json.dumps(render_plain(text.markdown), ensure_ascii=False)}
            await self._api.call("PUT", f"{_MESSAGES}/{plain_id}", body)
        elif kind:
            await self._cards.write(kind, text, to, final=final)
        else:
            await self._patch(to, plain_id, text, final=final)

    async def _patch(self, to: Address, message_id: str, text: Text, *, final: bool) -> None:
        """A card of its own; markup that is refused is shown as it was written, and a message that turns
        out to show a card entity is written there."""
        try:
            await self._replace(message_id, text, to)
        except Refusal as refused:
            if not final or not refused.of_content:
                raise
            try:
                card_id = await self._cards.of_message(message_id)
            except DeliveryRejected:
                await self._replace(message_id, Text(markdown=text.markdown, plain=True, buttons=text.buttons), to)
            else:
                await self._cards.write(card_id, text, to, final=final)

    async def _replace(self, message_id: str, text: Text, to: Address) -> None:
        content = json.dumps(render_card(text, to), ensure_ascii=False)
        await self._api.call("PATCH", f"{_MESSAGES}/{message_id}", {"content": content})

    async def delete(self, message_id: str) -> None:
        """Recall our own message."""
        await self._api.call("DELETE", f"{_MESSAGES}/{message_id.partition('/')[0]}")

    async def react(self, message_id: str, emoji: str) -> None:
        """Put a reaction; '' takes ours away."""
        before = self._reactions.pop(message_id, None)
        if before is not None:
            await self._api.call("DELETE", f"{_MESSAGES}/{message_id}/reactions/{before}")
        if emoji and message_id:
            body = {"reaction_type": {"emoji_type": _EMOJI.get(emoji, "OK")}}
            made = await self._api.call("POST", f"{_MESSAGES}/{message_id}/reactions", body)
            _remember(self._reactions, message_id, str(made.get("reaction_id") or ""))

    # ------------------------------------------------------------ files

    async def send_media(self, to: Address, media: Media, *, reply_to: str | None, nonce: str) -> str:
        """A picture, an Opus sound, or a file; its caption follows as a text."""
        kind = upload_kind(media, _IMAGE_BYTES)
        name = media.name or "file"
        if kind == "image":
            fields = {"image_type": "message"}
            made = await self._api.upload("/im/v1/images", fields, media.data, "image", name)
            content = {"image_key": made["image_key"]}
        else:
            fields = {"file_type": "opus" if kind == "audio" else "stream", "file_name": name}
            made = await self._api.upload("/im/v1/files", fields, media.data, "file", name)
            content = {"file_key": made["file_key"]}
        message = await self._post(to, kind, json.dumps(content), reply_to, nonce)
        if media.caption:
            text = json.dumps(render_plain(media.caption), ensure_ascii=False)
            await self._post(to, "text", text, None, f"{nonce[: _MAX_UUID - 2]}-c" if nonce else "")
        return str(message["message_id"])


def _remember(book: "OrderedDict[str, Any]", key: str, value: Any) -> None:
    """Keep the newest few thousand."""
    book[key] = value
    book.move_to_end(key)
    if len(book) > _KEPT:
        book.popitem(last=False)

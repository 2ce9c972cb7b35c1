"""Streaming cards (cardkit): one text written on under rising sequence numbers, and closed at the end.

Above is `channel.py`. A card's sequence is the time in tenths of seconds, and one more
where that is not enough: so it rises over a restart too, without being kept. Knows
nothing of chats and messages.
"""

import json
import logging
import re
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from channels.base import Address, Text
from channels.errors import ChannelError, EditExpired
from channels.feishu.api import FeishuApi, Refusal
from channels.feishu.render import ACTIVITY, ANSWER, render_activity, render_card, render_markdown, summary

Object: TypeAlias = dict[str, Any]

_log = logging.getLogger("channels.feishu")

_CARDS = "/cardkit/v1/cards"
TABLE = re.compile(r"^[ \t]*+\|?[ \t]*+:?-++:?[ \t]*+\|", re.M)
_EPOCH = 1_735_689_600.0
_INT32 = 1 << 31
_BEHIND = frozenset({300317})
_CLOSED = frozenset({300309, 200850, 300311})
"""Streaming mode ends by itself 10 minutes after it was last switched on."""
_KEPT = 2000
_TRIES = 6


@dataclass(slots=True)
class _Card:
    sequence: int = 0
    answer: str | None = None
    activity: str | None = None
    streaming: bool = True


class Cards:
    """The cards that are being written. `clock` gives seconds since the epoch."""

    def __init__(self, api: FeishuApi, clock: Callable[[], float] = time.time) -> None:
        self._api = api
        self._clock = clock
        self._cards: OrderedDict[str, _Card] = OrderedDict()
        self._run = secrets.token_hex(4)
        """Ours alone: a process before this one may have used a number that is only due now, for another text."""

    async def create(self, text: Text, to: Address) -> str:
        """A card in streaming mode; its id. Raises channels.errors."""
        body = {"type": "card_json", "data": _json(render_card(text, to, streaming=True))}
        card_id = str((await self._api.call("POST", _CARDS, body))["card_id"])
        self._card(card_id).answer = render_markdown(text.markdown)
        self._card(card_id).activity = render_activity(text.activity)
        return card_id

    async def write(self, card_id: str, text: Text, to: Address, *, final: bool) -> None:
        """Show `text`; repeating it changes nothing. Raises channels.errors."""
        try:
            if text.buttons or text.plain:
                await self._replace(card_id, text, to, streaming=not final)
            else:
                await self._stream(card_id, text, to, final=final)
        except Refusal as refused:
            if not final or not refused.of_content:
                raise
            await self._replace(card_id, text, to, streaming=False)

    async def _stream(self, card_id: str, text: Text, to: Address, *, final: bool) -> None:
        card = self._card(card_id)
        answer, activity = render_markdown(text.markdown), render_activity(text.activity)
        if card.answer != answer:
            await self._element(card_id, ANSWER, answer)
            card.answer = answer
        if card.activity != activity:
            await self._element(card_id, ACTIVITY, activity)
            card.activity = activity
        if final and card.streaming:
            await self._settings(card_id, streaming=False, title=summary(text.markdown))
            if TABLE.search(answer):
                await self._drawn_anew(card_id, text, to)

    async def _drawn_anew(self, card_id: str, text: Text, to: Address) -> None:
        """Tables that were streamed are shown as code until the card is replaced; the text itself is there already."""
        try:
            card = {"type": "card_json", "data": _json(render_card(text, to))}
            await self._numbered("PUT", f"{_CARDS}/{card_id}", card_id, {"card": card})
        except ChannelError as error:
            _log.info("a card with a table stays as it was streamed: %s", error.reason)

    async def _element(self, card_id: str, element: str, content: str) -> None:
        path = f"{_CARDS}/{card_id}/elements/{element}/content"
        try:
            await self._numbered("PUT", path, card_id, {"content": content or "\u200b"})
        except Refusal as refused:
            if refused.code not in _CLOSED:
                raise
            await self._settings(card_id, streaming=True)
            await self._numbered("PUT", path, card_id, {"content": content or "\u200b"})

    async def _settings(self, card_id: str, *, streaming: bool, title: str = "") -> None:
        config: Object = {"streaming_mode": streaming}
        if title:
            config["summary"] = {"content": title}
        await self._numbered("PATCH", f"{_CARDS}/{card_id}/settings", card_id, {"settings": _json({"config": config})})
        self._card(card_id).streaming = streaming

    async def _replace(self, card_id: str, text: Text, to: Address, *, streaming: bool) -> None:
        """The whole card anew; markup that is refused is shown as it was written."""
        for attempt in (text, Text(markdown=text.markdown, plain=True, buttons=text.buttons)):
            card = {"type": "card_json", "data": _json(render_card(attempt, to, streaming=streaming))}
            try:
                await self._numbered("PUT", f"{_CARDS}/{card_id}", card_id, {"card": card})
            except Refusal:
                if attempt.plain:
                    raise
            else:
                known = self._card(card_id)
                known.answer, known.activity, known.streaming = None, None, streaming
                return

    async def _numbered(self, method: str, path: str, card_id: str, body: Object) -> None:
        """One change under the card's next sequence; where Feishu knows a higher one (a clock that was
        set back), far enough ahead of it."""
        card = self._card(card_id)
        for attempt in range(_TRIES):
            now = int((self._clock() - _EPOCH) * 10) % _INT32
            card.sequence = max(card.sequence + 1, now) + (600 * 10**attempt if attempt else 0)
            try:
                stamp = f"{card_id[-24:]}-{self._run}-{card.sequence}"
                await self._api.call(method, path, body | {"sequence": card.sequence, "uuid": stamp})
            except Refusal as refused:
                if refused.code not in _BEHIND or attempt == _TRIES - 1:
                    raise
            except EditExpired:
                self._cards.pop(card_id, None)
                raise
            else:
                return

    def _card(self, card_id: str) -> _Card:
        card = self._cards.get(card_id)
        if card is None:
            card = self._cards[card_id] = _Card()
            if len(self._cards) > _KEPT:
                self._cards.popitem(last=False)
        return card

    async def of_message(self, message_id: str) -> str:
        """The card that a message shows. Raises channels.errors where it shows none."""
        return str((await self._api.call("POST", f"{_CARDS}/id_convert", {"message_id": message_id}))["card_id"])


def _json(value: Object) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Telegram's updates as ours: pure. Reads the JSON of the Bot API 10.0, knows no SDK.

A person is the number `from.id`, never a name; a group's anonymous administrators
and linked channels speak as bots and are not heard. A topic is a thread only where
`is_topic_message` says so. Offsets of entities count UTF-16 code units.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from bus.events import JsonObject
from channels.base import Incoming, MediaHandle, Reaction, Tap
from channels.ports import Identity, Place

Fetch = Callable[[str, int], Awaitable[bytes]]
"""`fetch(file_id, limit)`."""
TellTap = Callable[[str, str], Awaitable[None]]
"""`tell(callback_query_id, text)`."""
SERVICE_PEERS = frozenset({777000, 1087968824, 136817688})
"""Telegram's own senders: linked channels, anonymous administrators, channels as members."""
MESSAGES = ("message", "edited_message")


@dataclass(frozen=True, slots=True)
class Me:
    """The bot itself."""

    id: int
    username: str


@dataclass(frozen=True, slots=True)
class Migrated:
    """A group became a supergroup with another id."""

    old: str
    new: str


Parsed = Incoming | Tap | Reaction | Migrated | None


def parse_update(update: JsonObject, me: Me, fetch: Fetch, tell: TellTap) -> Parsed:
    """What an update says, or None where it says nothing to us. Raises KeyError, TypeError, ValueError for rubbish."""
    for kind in MESSAGES:
        if kind in update:
            return parse_message(update[kind], me, fetch, edited=kind == "edited_message")
    if "callback_query" in update:
        return parse_tap(update["callback_query"], me, tell)
    if "message_reaction" in update:
        change = update["message_reaction"]
        if "user" in change:
            key = f"{change['chat']['id']}:{change['message_id']}:r{update['update_id']}"
            return Reaction(key=key, identity=_identity(change["user"], me), place=_place(change["chat"], me),
                            what="reaction")  # fmt: skip
    return None


def parse_message(message: JsonObject, me: Me, fetch: Fetch, *, edited: bool = False) -> Parsed:
    """A message, an edit of one, or what else comes in this form."""
    chat, sender = message["chat"], message.get("from")
    if "migrate_to_chat_id" in message:
        return Migrated(str(chat["id"]), str(message["migrate_to_chat_id"]))
    if "migrate_from_chat_id" in message:  # the same, told in the new chat: the other may come later, or never
        return Migrated(str(message["migrate_from_chat_id"]), str(chat["id"]))
    if sender is None or chat.get("type") == "channel" or message.get("is_automatic_forward"):
        return None
    identity, place = _identity(sender, me), _place(chat, me)
    if "sender_chat" in message:
        identity = replace(identity, bot=True)
    if "new_chat_members" in message or "left_chat_member" in message:
        return Reaction(key=f"{chat['id']}:{message['message_id']}", identity=identity, place=place, what="members")
    text, spoken_to, for_another = _spoken(message, me)
    if for_another or (edited and "location" in message):  # a place that is shared live is edited every few seconds
        return None
    media = _media(message, fetch)
    extra = _described(message)
    if not text and not media and not extra:
        return None
    forwarded = "forward_origin" in message or "forward_date" in message
    key = f"{chat['id']}:{message['message_id']}"
    replied = message.get("reply_to_message") or {}
    to_us = (replied.get("from") or {}).get("id") == me.id
    quoted = text if forwarded else _quoted(message, {} if to_us else replied)
    return Incoming(
        key=f"{key}:e{message.get('edit_date', 0)}" if edited else key,
        edits=key if edited else None,
        identity=identity,
        place=place,
        text=extra if forwarded else "\n".join(part for part in (text, extra) if part),
        message_id=str(message["message_id"]),
        at=float(message.get("date", 0)),
        thread=str(message["message_thread_id"]) if message.get("is_topic_message") else None,
        media=media,
        addressed=place.kind == "direct" or to_us or (spoken_to and not forwarded),
        quoted=quoted,
    )


def parse_album(messages: Sequence[JsonObject], me: Me, fetch: Fetch) -> Parsed:
    """The parts of an album as one message: the first one's, with everybody's captions and files."""
    parts = [parse_message(message, me, fetch) for message in sorted(messages, key=lambda m: int(m["message_id"]))]
    found = [part for part in parts if isinstance(part, Incoming)]
    if not found:
        return None
    return replace(
        found[0],
        text="\n".join(part.text for part in found if part.text),
        media=tuple(handle for part in found for handle in part.media),
        addressed=any(part.addressed for part in found),
        also=tuple(part.key for part in found[1:]),
    )


def parse_tap(query: JsonObject, me: Me, tell: TellTap) -> Tap | None:
    """A press on an inline button of ours."""
    message = query.get("message")
    if message is None or "data" not in query:
        return None
    identifier = str(query["id"])

    async def answer(text: str) -> None:
        await tell(identifier, text)

    return Tap(
        key=f"cb:{identifier}",
        identity=_identity(query["from"], me),
        place=_place(message["chat"], me),
        data=str(query["data"]),
        message_id=str(message["message_id"]),
        thread=str(message["message_thread_id"]) if message.get("is_topic_message") else None,
        tell=answer,
    )


def album_of(update: JsonObject) -> tuple[str, str] | None:
    """Chat and album that a new message belongs to. Raises nothing."""
    message = update.get("message")
    group = message.get("media_group_id") if isinstance(message, dict) else None
    return (chat_of(update), str(group)) if group else None


def chat_of(update: JsonObject) -> str:
    """The chat that an update is about: updates of one chat keep their order."""
    for value in update.values():
        if isinstance(value, dict):
            chat = value.get("chat") or (value.get("message") or {}).get("chat")
            if isinstance(chat, dict):
                return str(chat.get("id"))
    return ""


def _identity(user: JsonObject, me: Me) -> Identity:
    name = " ".join(part for part in (user.get("first_name"), user.get("last_name")) if part)
    number = int(user["id"])
    return Identity(
        channel="telegram",
        account=str(me.id),
        peer=str(number),
        name=str(name),
        language="zh" if str(user.get("language_code") or "").lower().startswith("zh") else "en",
        bot=bool(user.get("is_bot")) or number in SERVICE_PEERS or number == me.id,
    )


def _place(chat: JsonObject, me: Me) -> Place:
    kind: Literal["direct", "group"] = "direct" if chat.get("type") == "private" else "group"
    return Place(channel="telegram", account=str(me.id), kind=kind, chat=str(chat["id"]))


def _cut(text: str, offset: int, length: int) -> str:
    data = text.encode("utf-16-le", "surrogatepass")
    return data[2 * offset : 2 * (offset + length)].decode("utf-16-le", "surrogatepass")


def _spoken(message: JsonObject, me: Me) -> tuple[str, bool, bool]:
    """The text without our mention, whether it speaks to us, and whether it is a command for another bot."""
    text = message.get("text") or message.get("caption") or ""
    entities = message.get("entities") or message.get("caption_entities") or ()
    spoken_to = False
    for entity in sorted(entities, key=lambda e: -int(e["offset"])):
        offset, length = int(entity["offset"]), int(entity["length"])
        word = _cut(text, offset, length)
        if entity["type"] == "bot_command":
            _, at, name = word.partition("@")
            if at and name.lower() != me.username.lower():
                if offset == 0:
                    return text, False, True
                continue
            spoken_to = spoken_to or offset == 0
        elif _is_us(entity, word, me):
            spoken_to = True
            text = _without(text, offset, length)
    return text.strip(), spoken_to, False


def _is_us(entity: JsonObject, word: str, me: Me) -> bool:
    if entity["type"] == "mention":
        return word.lower() == f"@{me.username}".lower()
    return entity["type"] == "text_mention" and int((entity.get("user") or {}).get("id", 0)) == me.id


def _without(text: str, offset: int, length: int) -> str:
    data = text.encode("utf-16-le", "surrogatepass")
    rest = data[: 2 * offset] + data[2 * (offset + length) :]
    return rest.decode("utf-16-le", "surrogatepass")


def _quoted(message: JsonObject, replied: JsonObject) -> str:
    """The part that was chosen, of our answer too, else the whole of what somebody else wrote."""
    part = (message.get("quote") or {}).get("text")
    return str(part or replied.get("text") or replied.get("caption") or "")


_UNREAD = ("story", "game", "paid_media", "giveaway", "invoice")
"""Sent by people, and nothing that we could read: at least that it came is said."""


def _described(message: JsonObject) -> str:
    """What is neither text nor a file, in words."""
    if "location" in message:
        where = message["location"]
        return f"[location {where.get('latitude')}, {where.get('longitude')}]"
    if "contact" in message:
        who = message["contact"]
        return f"[contact {who.get('first_name', '')} {who.get('last_name', '')} {who.get('phone_number', '')}]"
    if "sticker" in message:
        return f"[sticker {message['sticker'].get('emoji', '')}]"
    if "dice" in message:
        return f"[dice {message['dice'].get('value')}]"
    if "poll" in message:
        poll = message["poll"]
        return "\n".join(
            [f"[poll] {poll.get('question', '')}", *(f"- {o.get('text')}" for o in poll.get("options", ()))]
        )
    if "checklist" in message:
        tasks = message["checklist"]
        return "\n".join(
            [f"[checklist] {tasks.get('title', '')}", *(f"- {t.get('text')}" for t in tasks.get("tasks", ()))]
        )
    return next((f"[{kind.replace('_', ' ')}]" for kind in _UNREAD if kind in message), "")


_FILES: tuple[tuple[str, Literal["image", "voice", "audio", "video", "file"], str, str], ...] = (
    ("voice", "voice", "audio/ogg", "voice.ogg"),
    ("audio", "audio", "audio/mpeg", "audio.mp3"),
    ("video", "video", "video/mp4", "video.mp4"),
    ("video_note", "video", "video/mp4", "video.mp4"),
    ("animation", "video", "video/mp4", "animation.mp4"),
    ("document", "file", "application/octet-stream", "file"),
)


def _media(message: JsonObject, fetch: Fetch) -> tuple[MediaHandle, ...]:
    if message.get("photo"):
        largest = max(message["photo"], key=lambda size: int(size.get("width", 0)) * int(size.get("height", 0)))
        return (_handle(largest, "image", "image/jpeg", "photo.jpg", fetch),)
    for member, kind, mime, name in _FILES:
        if member in message:
            found = message[member]
            actual: Any = "image" if str(found.get("mime_type", "")).startswith("image/") else kind
            return (_handle(found, actual, mime, name, fetch),)
    return ()


def _handle(
    found: JsonObject, kind: Literal["image", "voice", "audio", "video", "file"], mime: str, name: str, fetch: Fetch
) -> MediaHandle:
    identifier, size = str(found["file_id"]), found.get("file_size")

    async def get(limit: int) -> bytes:
        return await fetch(identifier, limit)

    return MediaHandle(
        kind=kind,
        mime=str(found.get("mime_type") or mime),
        name=str(found.get("file_name") or name),
        size=int(size) if size is not None else None,
        fetch=get,
    )

"""Feishu's events, read: pure functions from its JSON (schema 2.0) to what every channel takes in.

The same functions read the long connection and the webhook. Nothing here knows a
socket, the API, or who may speak.
"""

import json
import mimetypes
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from bus.commands import parse as parse_command
from channels.base import Incoming, MediaHandle, Reaction, Tap
from channels.ports import Identity, Place
from channels.text import language_of

Object: TypeAlias = dict[str, Any]
Fetch: TypeAlias = Callable[[int], Awaitable[bytes]]
Fetcher: TypeAlias = Callable[[str, str, str], Fetch]
"""(message id, file key, `image` or `file`) -> its download."""

MESSAGE = "im.message.receive_v1"
TAP = "card.action.trigger"
REACTIONS = frozenset({"im.message.reaction.created_v1", "im.chat.member.user.added_v1"})

_NAMED = {"sticker": "[sticker]", "location": "[location]", "share_chat": "[a shared chat]",
          "share_user": "[a shared contact]", "merge_forward": "", "interactive": "[a card]",
          "system": "", "todo": "[a task]", "vote": "[a poll]", "video_chat": "[a call]"}  # fmt: skip


_FILES = frozenset({"image", "audio", "media", "file"})


@dataclass(frozen=True, slots=True)
class Self:
    """Who the assistant is here: the app, and its open_id as people mention it."""

    app_id: str
    open_id: str


@dataclass(frozen=True, slots=True)
class Parent:
    """The message that was replied to. `ours`: the assistant wrote it."""

    text: str = ""
    ours: bool = False


def event_type(payload: Object) -> str:
    """What kind of event; '' for what is none."""
    return str((payload.get("header") or {}).get("event_type") or "")


def lane_of(payload: Object) -> str:
    """What an event must keep its order with: its chat; alone where there is none."""
    event = payload.get("event") or {}
    chat = (event.get("message") or {}).get("chat_id")
    return str(chat or (payload.get("header") or {}).get("event_id") or "")


def parent_id(payload: Object) -> str:
    """The message that this one replies to, or ''."""
    return str((payload["event"]["message"]).get("parent_id") or "")


def sender_of(payload: Object) -> str:
    """The open_id of who wrote, '' where no person did."""
    sender = payload["event"]["sender"]
    return str((sender.get("sender_id") or {}).get("open_id") or "") if sender.get("sender_type") == "user" else ""


def parse_message(payload: Object, me: Self, parent: Parent, fetcher: Fetcher, name: str = "") -> Incoming | None:
    """A message that somebody wrote, called `name`; None where the sender is this app itself."""
    event = payload["event"]
    message, sender = event["message"], event["sender"]
    open_id = str((sender.get("sender_id") or {}).get("open_id") or "")
    bot = sender.get("sender_type") != "user"
    if open_id == me.open_id or not open_id:
        return None
    kind = str(message["message_type"])
    content = _content(message.get("content"))
    mentions: list[Object] = message.get("mentions") or []
    text = _readable(_text(kind, content), mentions, me)
    private = message.get("chat_type") == "p2p"
    identity = _identity(open_id, me, bot=bot, text=text, name=name)
    chat = str(message["chat_id"])
    called = any(_is_me(mention, me) for mention in mentions)
    return Incoming(
        key=message["message_id"],
        identity=identity,
        place=Place(channel="feishu", account=me.app_id, kind="direct" if private else "group",
                    chat=open_id if private else chat),
        text=text,
        message_id=message["message_id"],
        at=float(message.get("create_time") or 0) / 1000,
        thread=None if private else message.get("thread_id") or None,
        media=tuple(_media(kind, content, message["message_id"], fetcher)),
        addressed=private or called or parent.ours or parse_command(text) is not None,
        quoted=parent.text or ("[forwarded messages]" if kind == "merge_forward" else ""),
    )  # fmt: skip


def private_chat(payload: Object) -> str:
    """The id of the private chat that a message came in, or ''."""
    message = payload["event"]["message"]
    return str(message["chat_id"]) if message.get("chat_type") == "p2p" else ""


def parse_tap(
    payload: Object, me: Self, chats: Mapping[str, str], tell: Callable[[str], Awaitable[None]]
) -> Tap | None:
    """A button on a card. `chats` maps known private chats to their person: all others are groups."""
    event = payload["event"]
    value = (event.get("action") or {}).get("value")
    context = event.get("context") or {}
    open_id = str((event.get("operator") or {}).get("open_id") or "")
    if not isinstance(value, dict) or "data" not in value or not open_id:
        return None
    chat = str(context.get("open_chat_id") or event.get("open_chat_id") or "")
    private = chats.get(chat) == open_id or value.get("kind") == "direct"
    return Tap(
        key=str(payload["header"]["event_id"]),
        identity=_identity(open_id, me),
        place=Place(channel="feishu", account=me.app_id, kind="direct" if private else "group",
                    chat=open_id if private else chat),
        data=str(value["data"]),
        message_id=str(context.get("open_message_id") or event.get("open_message_id") or ""),
        thread=value.get("thread"),
        tell=tell,
    )  # fmt: skip


def parse_reaction(payload: Object, me: Self) -> list[Reaction]:
    """Reactions and joins: each person in it, for the gate alone."""
    event = payload["event"]
    key = str(payload["header"]["event_id"])
    place = Place(channel="feishu", account=me.app_id, kind="group", chat=str(event.get("chat_id") or ""))
    people = [str((user.get("user_id") or {}).get("open_id") or "") for user in event.get("users") or ()]
    if "message_id" in event:
        people = [str((event.get("user_id") or {}).get("open_id") or "")]
    return [
        Reaction(key=f"{key}:{person}", identity=_identity(person, me), place=place, what=event_type(payload))
        for person in people
        if person and person != me.open_id
    ]


def parse_parent(item: Object, me: Self) -> Parent:
    """A message that was fetched, as the one replied to."""
    content = _content((item.get("body") or {}).get("content"))
    kind = str(item.get("msg_type"))
    sender = item.get("sender") or {}
    ours = sender.get("sender_type") == "app" and sender.get("id", me.app_id) in (me.app_id, me.open_id)
    return Parent(_text(kind, content) if kind in ("text", "post") else _card_text(content), ours)


def _identity(open_id: str, me: Self, *, bot: bool = False, text: str = "", name: str = "") -> Identity:
    return Identity(channel="feishu", account=me.app_id, peer=open_id, name=name, language=language_of(text), bot=bot)


def _content(text: Any) -> Object:
    try:
        content = json.loads(text)
    except (ValueError, TypeError):
        return {}
    return content if isinstance(content, dict) else {}


def _text(kind: str, content: Object) -> str:
    if kind == "text":
        return str(content.get("text") or "")
    if kind == "post":
        return _post_text(content)
    return _NAMED.get(kind, "" if kind in _FILES else f"[{kind}]")


def _post_text(content: Object) -> str:
    """A rich text as Markdown."""
    lines = [str(content["title"])] if content.get("title") else []
    for paragraph in _paragraphs(content):
        lines.append("".join(_post_piece(piece) for piece in paragraph if isinstance(piece, dict)))
    return "\n".join(lines).strip()


def _paragraphs(content: Object) -> list[list[Any]]:
    body = content.get("content")
    if body is None:  # older clients put each language apart
        body = next((v.get("content") for v in content.values() if isinstance(v, dict)), None)
    return [p for p in body or () if isinstance(p, list)]


def _post_piece(piece: Object) -> str:
    tag = piece.get("tag")
    if tag == "a":
        return f"[{piece.get('text', '')}]({piece.get('href', '')})"
    if tag == "at":
        return str(piece.get("user_id") or "")
    if tag == "emotion":
        return f"[{piece.get('emoji_type', '')}]"
    if tag == "code_block":
        return f"\n```{str(piece.get('language') or '').lower()}\n{piece.get('text', '')}\n```\n"
    return str(piece.get("text") or "")


def _card_text(content: Object) -> str:
    """The texts of a card, as far as Feishu gives them back."""
    found: list[str] = []

    def walk(node: Any) -> None:
        if isinstance(node, dict):
            found.extend(node[k] for k in ("text", "content") if isinstance(node.get(k), str))
            for key, value in node.items():
                if key != "config":
                    walk(value)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(content)
    return "\n".join(found)[:2000]


def _is_me(mention: Object, me: Self) -> bool:
    if not me.open_id:
        return mention.get("key") != "@_all"
    return bool((mention.get("id") or {}).get("open_id") == me.open_id)


def _readable(text: str, mentions: list[Object], me: Self) -> str:
    """Placeholders as names; our own goes. Longer keys first, so that @_user_1 leaves @_user_10 alone."""
    for mention in sorted(mentions, key=lambda m: -len(str(m.get("key")))):
        text = text.replace(str(mention.get("key")), "" if _is_me(mention, me) else f"@{mention.get('name')}")
    return text.strip()


def _media(kind: str, content: Object, message_id: str, fetcher: Fetcher) -> list[MediaHandle]:
    def handle(
        what: Literal["image", "voice", "audio", "video", "file"], mime: str, key: str, name: str, resource: str
    ) -> MediaHandle:
        return MediaHandle(kind=what, mime=mime, name=name, size=None, fetch=fetcher(message_id, key, resource))

    if kind == "image":
        return [handle("image", "image/png", str(content.get("image_key")), "image.png", "image")]
    if kind == "audio":
        return [handle("voice", "audio/ogg", str(content.get("file_key")), "voice.ogg", "file")]
    if kind == "media":
        return [handle("video", "video/mp4", str(content.get("file_key")), _name(content, "video.mp4"), "file")]
    if kind == "file":
        name = _name(content, "file")
        return [handle("file", _mime(name), str(content.get("file_key")), name, "file")]
    if kind != "post":
        return []
    pieces = [piece for paragraph in _paragraphs(content) for piece in paragraph if isinstance(piece, dict)]
    keys = [str(piece["image_key"]) for piece in pieces if piece.get("tag") == "img" and piece.get("image_key")]
    films = [str(piece["file_key"]) for piece in pieces if piece.get("tag") == "media" and piece.get("file_key")]
    return [
        *(handle("image", "image/png", key, f"image-{n}.png", "image") for n, key in enumerate(keys, start=1)),
        *(handle("video", "video/mp4", key, f"video-{n}.mp4", "file") for n, key in enumerate(films, start=1)),
    ]


def _name(content: Object, otherwise: str) -> str:
    return str(content.get("file_name") or otherwise)


def _mime(name: str) -> str:
    return mimetypes.guess_type(name)[0] or "application/octet-stream"

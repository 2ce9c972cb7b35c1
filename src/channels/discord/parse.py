"""Discord's gateway and REST objects, read: pure functions from its JSON to what every channel takes in.

The same functions read live events and the history that is fetched after a gap.
Rules are those of Discord's API v10 (message types, flags, snowflakes). Nothing
here knows the SDK, a socket, or who may speak.
"""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from bus.commands import parse as parse_command
from channels.base import Incoming, MediaHandle, Reaction, Tap
from channels.ports import Identity, Place
from channels.text import language_of

Object: TypeAlias = dict[str, Any]
Fetch: TypeAlias = Callable[[int], Awaitable[bytes]]
Fetcher: TypeAlias = Callable[[str], Fetch]
"""Gives the download of a URL."""

THREADS = frozenset({10, 11, 12})
_SPOKEN = frozenset({0, 19})
"""Message types that a person writes: an ordinary one and a reply."""
_VOICE = 1 << 13
_EPOCH_MS = 1_420_070_400_000
_MENTION = re.compile(r"<@(?P<role>&)?!?(?P<id>\d+)>")
_COMMAND, _COMPONENT = 2, 3


@dataclass(slots=True)
class Self:
    """Who the assistant is here: its user, its application, and the roles that guilds gave to it alone."""

    user: str
    application: str = ""
    roles: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Where:
    """The place of an event. `parent` is the channel that a thread hangs on, '' elsewhere."""

    guild: str
    channel: str
    parent: str = ""

    def place(self, account: str, peer: str) -> Place:
        """As the gate sees it: a thread follows its parent, a private chat is named by its person."""
        if not self.guild:
            return Place(channel="discord", account=account, kind="direct", chat=peer)
        return Place(channel="discord", account=account, kind="group", chat=self.channel, parent=self.parent or None)

    @property
    def thread(self) -> str | None:
        """The thread's id, where it is one."""
        return self.channel if self.parent else None


def snowflake_time(snowflake: str) -> float:
    """When an id was made, in seconds since the epoch."""
    return ((int(snowflake) >> 22) + _EPOCH_MS) / 1000


def snowflake_at(seconds: float) -> str:
    """The lowest id of a moment."""
    return str(max(0, int(seconds * 1000) - _EPOCH_MS) << 22)


def parse_message(data: Object, me: Self, where: Where, fetcher: Fetcher) -> Incoming | Reaction | None:
    """A message as it was written; our own are None, and what no person wrote (a join, a pin) is a Reaction."""
    if data["author"]["id"] == me.user:
        return None
    content = data.get("content") or ""
    nick = (data.get("member") or {}).get("nick") or ""
    text = _readable(content, data, me)
    language = language_of(text)
    identity = _identity(data["author"], me, bot=bool(data.get("webhook_id")), language=language, nick=nick)
    place = where.place(me.user, identity.peer)
    if data.get("type", 0) not in _SPOKEN:
        return Reaction(key=data["id"], identity=identity, place=place, what=f"message type {data['type']}")
    text = "\n".join(part for part in (text, *_described(data)) if part)
    return Incoming(
        key=data["id"],
        identity=identity,
        place=place,
        text=text,
        message_id=data["id"],
        at=snowflake_time(data["id"]),
        thread=where.thread,
        media=tuple(_media(a, data, fetcher) for a in _attachments(data)),
        addressed=not where.guild or _addressed(data, content, text, me),
        quoted=_quoted(data),
    )


def parse_edit(data: Object, me: Self, where: Where, fetcher: Fetcher) -> Incoming | None:
    """A message that its author changed; None for the updates that only fill in a preview of a link."""
    stamp = data.get("edited_timestamp")
    if not stamp or "author" not in data or "content" not in data:
        return None
    parsed = parse_message(data, me, where, fetcher)
    if not isinstance(parsed, Incoming):
        return None
    at = datetime.fromisoformat(stamp)
    return replace(parsed, key=f"{parsed.key}:{int(at.timestamp() * 1000)}", edits=parsed.key, at=at.timestamp())


def parse_command_use(data: Object, me: Self, where: Where) -> Incoming | None:
    """A slash command from the native menu, as the text it stands for."""
    if data["type"] != _COMMAND:
        return None
    identity = _interaction_identity(data, me)
    words = [str(option["value"]) for option in data["data"].get("options") or () if "value" in option]
    return Incoming(
        key=data["id"],
        identity=identity,
        place=where.place(me.user, identity.peer),
        text=" ".join([f"/{data['data']['name']}", *words]),
        message_id="",
        at=datetime.now(UTC).timestamp(),
        thread=where.thread,
        addressed=True,
    )


def parse_tap(data: Object, me: Self, where: Where, tell: Callable[[str], Awaitable[None]]) -> Tap | None:
    """A button that was pressed. Its `custom_id` is what we gave it, also before a restart."""
    if data["type"] != _COMPONENT:
        return None
    identity = _interaction_identity(data, me)
    return Tap(
        key=data["id"],
        identity=identity,
        place=where.place(me.user, identity.peer),
        data=data["data"]["custom_id"],
        message_id=data["message"]["id"],
        thread=where.thread,
        tell=tell,
    )


def is_sent(message: Object, body: Object, me: Self) -> bool:
    """Whether `message` of the history is what was sent as `body`, whole or streamed in part.

    Discord does not keep nonces for long; what is left is whom it answers, its buttons, its files and its text.
    """
    if message["author"]["id"] != me.user or _buttons(message) != _buttons(body):
        return False
    answered = (message.get("message_reference") or {}).get("message_id", "")
    if str(answered) != str((body.get("message_reference") or {}).get("message_id", "")):
        return False
    if [a["filename"] for a in message.get("attachments") or ()] != [
        a["filename"] for a in body.get("attachments", ())
    ]:
        return False
    shown, wanted = str(message.get("content") or "").strip(), str(body.get("content") or "").strip()
    return shown == wanted or (bool(answered) and bool(shown) and wanted.startswith(shown))


def _buttons(message: Object) -> list[str]:
    return [b.get("custom_id", "") for row in message.get("components") or () for b in row.get("components") or ()]


def parse_reaction(data: Object, me: Self, where: Where) -> Reaction | None:
    """A reaction under any message; our own are None."""
    if data["user_id"] == me.user:
        return None
    member = (data.get("member") or {}).get("user") or {"id": data["user_id"]}
    identity = _identity(member, me)
    emoji = data["emoji"].get("name") or data["emoji"].get("id") or ""
    return Reaction(
        key=f"{data['message_id']}:{data['user_id']}:{emoji}",
        identity=identity,
        place=where.place(me.user, identity.peer),
        what=f"reaction {emoji}",
    )


def _identity(user: Object, me: Self, *, bot: bool = False, language: str = "en", nick: str = "") -> Identity:
    name = nick or user.get("global_name") or user.get("username") or ""
    return Identity(
        channel="discord",
        account=me.user,
        peer=str(user["id"]),
        name=name,
        language=language,
        bot=bot or bool(user.get("bot")),
    )


def _interaction_identity(data: Object, me: Self) -> Identity:
    user = (data.get("member") or {}).get("user") or data["user"]
    language: Literal["zh", "en"] = "zh" if str(data.get("locale", "")).startswith("zh") else "en"
    return _identity(user, me, language=language)


def _addressed(data: Object, content: str, text: str, me: Self) -> bool:
    """A mention (of the user or of its own role, never of everyone), a reply to us, or a command."""
    if any(user["id"] == me.user for user in data.get("mentions") or ()) or f"<@{me.user}>" in content:
        return True
    if me.roles.intersection(data.get("mention_roles") or ()):
        return True
    replied = data.get("referenced_message") or {}
    if (replied.get("author") or {}).get("id") == me.user:
        return True
    return parse_command(text) is not None


def _readable(content: str, data: Object, me: Self) -> str:
    """The text without the mention of ourselves; others are named as people see them."""
    names = {user["id"]: user.get("global_name") or user.get("username") for user in data.get("mentions") or ()}

    def replaced(match: "re.Match[str]") -> str:
        if match["id"] == me.user or (match["role"] and match["id"] in me.roles):
            return ""
        name = None if match["role"] else names.get(match["id"])
        return f"@{name}" if name else match[0]

    return _MENTION.sub(replaced, content).strip()


def _described(data: Object) -> list[str]:
    """What is neither text nor a file, in words."""
    words = [f"[sticker {sticker.get('name', '')}]" for sticker in data.get("sticker_items") or ()]
    poll = data.get("poll")
    if poll:
        words.append(f"[poll] {(poll.get('question') or {}).get('text', '')}")
        words += [f"- {(answer.get('poll_media') or {}).get('text', '')}" for answer in poll.get("answers") or ()]
    return words


def _snapshots(data: Object) -> list[Object]:
    return [s["message"] for s in data.get("message_snapshots") or () if "message" in s]


def _attachments(data: Object) -> list[Object]:
    found = list(data.get("attachments") or ())
    for snapshot in _snapshots(data):
        found += snapshot.get("attachments") or ()
    return found


def _quoted(data: Object) -> str:
    """What is replied to, or was forwarded: a quotation, never the person's own words."""
    texts = [(data.get("referenced_message") or {}).get("content") or ""]
    texts += [snapshot.get("content") or "" for snapshot in _snapshots(data)]
    return "\n".join(text for text in texts if text)


def _media(attachment: Object, data: Object, fetcher: Fetcher) -> MediaHandle:
    mime = str(attachment.get("content_type") or "application/octet-stream").partition(";")[0]
    kind: Literal["image", "voice", "audio", "video", "file"] = "file"
    if data.get("flags", 0) & _VOICE:
        kind = "voice"
    elif mime.startswith("image/"):
        kind = "image"
    elif mime.startswith("audio/"):
        kind = "audio"
    elif mime.startswith("video/"):
        kind = "video"
    return MediaHandle(
        kind=kind,
        mime=mime,
        name=attachment.get("filename") or "file",
        size=attachment.get("size"),
        fetch=fetcher(attachment["url"]),
    )
